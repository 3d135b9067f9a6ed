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
	for name, pod := range map[string]topo.Pod{
		"spk":     {Namespace: "apps", Name: "app-1", Worker: "worker-1", IPs: []netip.Addr{netip.MustParseAddr("10.131.1.100"), netip.MustParseAddr("fd01:0:0:1::100")}, MAC: "0a:58:0a:83:01:64"},
		"flannel": {Namespace: "apps", Name: "app-1", Worker: "node-1", IPs: []netip.Addr{netip.MustParseAddr("10.1.15.3")}, MAC: "0a:58:0a:01:0f:03"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := fabric.Load(filepath.Join("../../lab/topologies", name, name+".spklab.yml"))
			if err != nil {
				t.Fatal(err)
			}
			d := fabric.Drivers()[l.Fabric.Driver]
			env := fabric.Env{Spklab: "/bin/spklab", StateDir: "/run/spklab/" + name}
			steps := d.Cluster(l, env)
			for _, w := range l.Workers {
				steps = append(steps, d.Node(l, w, env)...)
			}
			got := topo.NewPlan(append(steps, d.Pod(l, l.Workers[0], pod)...)).String()
			golden(t, name+".plan", got)
		})
	}
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
