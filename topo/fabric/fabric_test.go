package fabric_test

import (
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/topo/fabric"
)

var update = flag.Bool("update", false, "rewrite the goldens")

// TestPlans holds what each driver puts into the shipped topologies, a line a step.
func TestPlans(t *testing.T) {
	app := topo.Pod{Namespace: "apps", Name: "app-1", Worker: "worker-1", IPs: []netip.Addr{netip.MustParseAddr("10.131.1.100"), netip.MustParseAddr("fd01:0:0:1::100")}, MAC: "0a:58:0a:83:01:64"}
	for _, tc := range []struct {
		name, topology, backend string
		pod                     topo.Pod
	}{
		{"spk", "spk", "", app},
		{"spk-real", "spk", topo.BackendReal, app},
		{"spk-real-on-sim", "spk", topo.BackendRealOnSim, app},
		{"flannel", "flannel", "", topo.Pod{Namespace: "apps", Name: "app-1", Worker: "node-1", IPs: []netip.Addr{netip.MustParseAddr("10.1.15.3")}, MAC: "0a:58:0a:01:0f:03"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, err := fabric.Load(filepath.Join("../../lab/topologies", tc.topology, tc.topology+".spklab.yml"))
			if err != nil {
				t.Fatal(err)
			}
			if l, err = l.WithBackend(tc.backend); err != nil {
				t.Fatal(err)
			}
			d, err := fabric.Of(l)
			if err != nil {
				t.Fatal(err)
			}
			env := fabric.Env{Spklab: "/bin/spklab", StateDir: "/run/spklab/" + tc.topology}
			steps := d.Cluster(l, env)
			for _, w := range l.Workers {
				steps = append(steps, d.Node(l, w, env)...)
			}
			if l.Fabric.Real() { // which changes what stands below
				steps = append(steps, uplinks(l, d.Base(l))...)
			}
			got := topo.NewPlan(append(steps, d.Pod(l, l.Workers[0], tc.pod)...)).String()
			golden(t, tc.name+".plan", got)
		})
	}
}

// uplinks are the steps of the workers' NICs.
func uplinks(l *topo.Lab, steps []topo.Step) []topo.Step {
	var out []topo.Step
	for _, w := range l.Workers {
		for _, s := range steps {
			ns := topo.NetnsName(l.Name, w.Name)
			if s.Veth != nil && s.Veth.A.Netns == ns || s.Addr != nil && s.Addr.Netns == ns {
				out = append(out, s)
			}
		}
	}
	return out
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestMistakes(t *testing.T) {
	data, err := os.ReadFile("../../lab/topologies/spk/spk.spklab.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, old, new, want string }{
		{"NIC called as the bridge", "{name: ens256, network: external}", "{name: br-int, network: external}", `"br-int": is the name of the fabric's own bridge`},
		{"no uplink", `addresses: [10.144.100.12, "fd00:10:144:100::12"]`, "addresses: []", `"worker-2": no NIC with an address on internal`},
		{"uplink of one family", `[10.144.100.12, "fd00:10:144:100::12"]`, "[10.144.100.12]", `"fd01:0:0:2::/64": worker-2 has no address of this family on ens192`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(string(data), tt.old, tt.new, 1)
			if text == string(data) {
				t.Fatal("the case changes nothing")
			}
			_, err := fabric.Parse("f", []byte(text))
			var input *topo.InputError
			if !errors.As(err, &input) || input.Line == 0 || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want a place and %s", err, tt.want)
			}
		})
	}
}

func TestRealBackendMistakes(t *testing.T) {
	data, err := os.ReadFile("../../lab/topologies/spk/spk.spklab.yml")
	if err != nil {
		t.Fatal(err)
	}
	l, err := fabric.Parse("f", []byte(strings.ReplaceAll(string(data), "ens256", "br-ex")))
	if err != nil {
		t.Fatalf("the simulation leaves br-ex alone: %v", err)
	}
	for backend, want := range map[string]string{
		topo.BackendReal: `workers[0].nics[2].name: "br-ex": is the name of the fabric's own bridge`,
		"rael":           `fabric.backend: "rael": want sim or real or real-on-sim`,
	} {
		t.Run(backend, func(t *testing.T) {
			l, err := l.WithBackend(backend)
			if err == nil {
				err = fabric.Check(l)
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}
