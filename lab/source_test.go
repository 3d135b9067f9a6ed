package lab

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/kubesim"
	"github.com/spklab/spklab/lab/topologies"
	"github.com/spklab/spklab/topo"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestFind: a lab file by path, by directory, by name, as shipped, and alone in a directory.
func TestFind(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, topologies.FS); err != nil {
		t.Fatal(err)
	}
	odd := filepath.Join(dir, `a[b]*?\`)
	if err := os.CopyFS(odd, topologies.FS); err != nil {
		t.Fatal(err)
	}
	spk := filepath.Join(dir, "spk")
	for _, tc := range []struct{ name, dir, arg, want string }{
		{"file", dir, "spk/spk.spklab.yml", "spk/spk.spklab.yml"},
		{"absolute file", t.TempDir(), spk + "/spk.spklab.yml", spk + "/spk.spklab.yml"},
		{"directory", dir, "spk", "spk/spk.spklab.yml"},
		{"directory whose name reads like a pattern", odd, "spk", "spk/spk.spklab.yml"},
		{"file without its ending", spk, "spk", "spk.spklab.yml"},
		{"shipped", t.TempDir(), "spk", "shipped:spk/spk.spklab.yml"},
		{"shipped, by its file's name", t.TempDir(), "spk.spklab.yml", "shipped:spk/spk.spklab.yml"},
		{"the one here", spk, "", filepath.Join(spk, "spk.spklab.yml")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src, err := Load(tc.dir, tc.arg)
			if err != nil {
				t.Fatal(err)
			}
			if src.File != tc.want || src.Spec.Name != "spk" || len(src.Objects) != 19 {
				t.Errorf("%s: lab %s with %d objects, want %s: lab spk with 19", src.File, src.Spec.Name, len(src.Objects), tc.want)
			}
		})
	}
}

func TestFindMistakes(t *testing.T) {
	two := t.TempDir()
	for _, f := range []string{"a.spklab.yml", "b.spklab.yml"} {
		if err := os.WriteFile(filepath.Join(two, f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct{ name, dir, arg, want string }{
		{"none here", t.TempDir(), "", "no lab file"},
		{"several here", two, "", "several lab files here: a.spklab.yml, b.spklab.yml"},
		{"unknown name", t.TempDir(), "nosuch", "topologies that ship with spklab: bgp, flannel, spk, spk-sriov"},
		{"path out of the shipped ones", t.TempDir(), "../spk", "no such lab file"},
		{"empty file", two, "a", "the file holds nothing"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Load(tc.dir, tc.arg)
			if !errors.As(err, new(*topo.InputError)) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want bad input with %q", err, tc.want)
			}
		})
	}
}

// TestPlanGolden holds every line of the plans of the shipped topologies.
func TestPlanGolden(t *testing.T) {
	names, err := Shipped()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			src, err := Load(t.TempDir(), name)
			if err != nil {
				t.Fatal(err)
			}
			if name == "spk-sriov" {
				src = onGuest(t, src)
			}
			plan, findings, err := Preview(src, Options{Host: topo.Host{Run: "/run/spklab", BPF: "/sys/fs/bpf"}})
			if err != nil || len(findings) > 0 {
				t.Fatalf("%v, findings %v", err, findings)
			}
			path := filepath.Join("testdata", name+".plan")
			if *update {
				if err := os.WriteFile(path, []byte(plan.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), plan.String()); diff != "" {
				t.Errorf("%s (run with -update to accept):\n%s", path, diff)
			}
		})
	}
}

// TestPlanLeavesOut: what goes and what cannot start is not part of a plan.
func TestPlanLeavesOut(t *testing.T) {
	for name, change := range map[string]func(*corev1.Pod){
		"a pod on its way out":     func(p *corev1.Pod) { kubesim.Terminate(p, time.Now(), 30) },
		"a pod without a place":    func(p *corev1.Pod) { p.Spec.NodeName = "" },
		"a pod without an address": func(p *corev1.Pod) { p.Status.PodIPs = nil },
	} {
		t.Run(name, func(t *testing.T) {
			src, res := shipped(t)
			change(res.Pod("spk-apps", "app-1"))
			plan, err := Plan(src.Spec, res, Env{})
			if err != nil {
				t.Fatal(err)
			}
			if s := plan.String(); strings.Contains(s, "spk-spk-app-1") || !strings.Contains(s, "spk-spk-app-2") {
				t.Errorf("the plan holds app-1, or lacks app-2:\n%s", s)
			}
		})
	}
}

// TestCheck: what does not fit together in a lab, each with its place.
func TestCheck(t *testing.T) {
	for _, tc := range []struct{ name, file, old, new, want string }{
		{"master that does not exist", "macvlan_example.yml", "ens256", "ens999",
			`macvlan_example.yml:23:15: "ens999": NetworkAttachmentDefinition default/macvlan-external: master is no NIC of worker-1; it has ens192, ens224, ens256`},
		{"another type", "macvlan_example.yml", `"type": "macvlan"`, `"type": "ipvlan"`, `macvlan_example.yml:9:13: "ipvlan": `},
		{"MTU above the master's", "macvlan_example.yml", `"mode": "bridge"`, `"mode": "bridge", "mtu": 9000`, `"9000": NetworkAttachmentDefinition default/macvlan-internal: mtu is above the 1500 of its master ens224`},
		{"no master", "macvlan_example.yml", `"master": "ens224",`, "", `no default route interface on worker-1 for a macvlan without a master; write "master": and one of ens192, ens224, ens256`},
		{"no such device", "macvlan_example.yml", `"type": "macvlan"`, `"type": "host-device", "device": "ens7"`, `"ens7": NetworkAttachmentDefinition default/macvlan-internal: device is no NIC of worker-1; it has ens192, ens224, ens256`},
		{"self-IP of nowhere", "vlans.yaml", "10.144.100.16", "10.99.0.16",
			"vlans.yaml:1:1: F5SPKVlan default/internal: self-IP 10.99.0.16 is outside of network internal, to which interface 1.1 is cabled; write an address of that network"},
		{"MTU of a VLAN above its network's", "vlans.yaml", "tag: 0", "tag: 0\n  mtu: 9000",
			"vlans.yaml:1:1: F5SPKVlan default/internal: mtu 9000 is above the 1500 of network internal, to which interface 1.1 is cabled; write mtu: 1500"},
		{"swapped interfaces", "vlans.yaml", `["1.1"]`, `["1.2"]`, "it belongs to network internal of interface 1.1: swap the order of tmm.cniNetworks"},
		{"a node that does not exist", "apps.yaml", "worker-1", "worker-7", `apps.yaml:5:1: Pod spk-apps/app-1: nodeName "worker-7": there is no such node`},
		{"a pin outside", "apps.yaml", "10.131.1.100", "10.131.2.100", "pinned address 10.131.2.100 is outside the pod CIDRs of worker-1"},
		{"a pod called as a node", "apps.yaml", "name: app-1", "name: worker-2", "Pod spk-apps/worker-2: a node of the lab has this name"},
		{"a node", "apps.yaml", "kind: Namespace\nmetadata:\n  name: spk-apps", "kind: Node\nmetadata:\n  name: worker-9", `apps.yaml:4:9: "worker-9": Node worker-9: the lab file makes the nodes`},
		{"two pods of one name", "apps.yaml", "name: app-2\n  namespace: spk-apps", "name: f5-tmm-1\n  namespace: spk-apps", "Pod spk-apps/f5-tmm-1: pod default/f5-tmm-1 has this name too"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Check(edited(t, tc.file, tc.old, tc.new))
			if !errors.As(err, new(*api.InputError)) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v\nwant bad input with %s", err, tc.want)
			}
		})
	}
	t.Run("MTU of a VLAN below its network's", func(t *testing.T) {
		src := edited(t, "vlans.yaml", "tag: 0", "tag: 0\n  mtu: 1500")
		src.Spec.Networks[0].MTU = 9000
		findings, err := Check(src)
		if err != nil || len(findings) != 1 || !strings.Contains(findings[0].String(), "mtu 1500 is below the 9000 of network internal") {
			t.Errorf("findings %v, %v; want a warning", findings, err)
		}
	})
	t.Run("an image that the lab lacks", func(t *testing.T) {
		findings, err := Check(edited(t, "apps.yaml", "spklab/app", "nginx"))
		if err != nil || len(findings) != 1 || !strings.Contains(findings[0].Message, "the lab has no image nginx") {
			t.Errorf("findings %v, %v; want a warning", findings, err)
		}
	})
}

// edited is the spk topology with the first old of a manifest replaced.
func edited(t *testing.T, file, old, text string) *Source {
	t.Helper()
	return changed(t, "spk", edit{"manifests/" + file, old, text})
}

// edit replaces a text in a file of a topology.
type edit struct{ file, old, new string }

// changed is a topology that ships, with texts of its files replaced.
func changed(t *testing.T, topology string, edits ...edit) *Source {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, topologies.FS); err != nil {
		t.Fatal(err)
	}
	for _, e := range edits {
		path := filepath.Join(dir, topology, e.file)
		data, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(data), e.old) {
			t.Fatalf("%s does not hold %q (%v)", e.file, e.old, err)
		}
		if err := os.WriteFile(path, []byte(strings.Replace(string(data), e.old, e.new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	src, err := Load(dir, topology)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func TestKindWords(t *testing.T) {
	l := &Lab{store: newStore(t.TempDir())}
	odd := api.Object{Kind: "F5SPKTeleporter", Name: "beam", Raw: []byte("apiVersion: x/v1\nkind: F5SPKTeleporter\nmetadata: {name: beam}\n")}
	if err := l.store.putRaw(odd); err != nil {
		t.Fatal(err)
	}
	for word, want := range map[string]string{
		"po": api.KindPod, "pods": api.KindPod, "Pod": api.KindPod, "svc": api.KindService, "nad": api.KindNAD,
		"intcp": api.KindIngressTCP, "f5-spk-vlans": api.KindVLAN, "f5-spk-vlans.k8s.f5net.com": api.KindVLAN,
		"f5-spk-ingresstcps.ingresstcp.k8s.f5net.com": api.KindIngressTCP, "helmvalues": api.KindValues, "f5spkteleporters": "F5SPKTeleporter",
		"f5-spk-ingressngaps.k8s.f5net.com": api.KindIngressNGAP, "f5-spk-snatpools": api.KindSnatpool,
	} {
		if got, err := l.kind(word); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", word, got, err, want)
		}
	}
	if _, err := l.kind("unicorns"); !errors.As(err, new(*api.InputError)) {
		t.Errorf("unicorns: %v, want bad input", err)
	}
}
