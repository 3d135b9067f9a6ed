package api

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const sound = `
apiVersion: v1
kind: Namespace
metadata: {name: apps}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: apps}
spec: {selector: {app: web}, ports: [{port: 80, protocol: TCP}]}
---
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: apps, labels: {app: web}}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: a}
spec: {config: '{"type": "macvlan", "master": "x"}'}
---
apiVersion: k8s.f5net.com/v1
kind: F5SPKVlan
metadata: {name: int}
spec: {interfaces: ["1.1"], internal: true, selfip_v4s: [10.0.0.1], prefixlen_v4: 24}
---
apiVersion: ingresstcp.k8s.f5net.com/v1
kind: F5SPKIngressTCP
metadata: {name: web, namespace: apps}
service: {name: web, port: 80}
spec: {destinationAddress: 192.0.2.10, destinationPort: 80}
---
tmm: {cniNetworks: default/a}
controller: {watchNamespace: apps}
`

// speaking are Helm values of a TMM that speaks BGP and BFD with a neighbor in the VLAN's network.
const speaking = "tmm: {cniNetworks: default/a, dynamicRouting: {enabled: true, tmmRouting: {config: {bgp: {asn: 1, neighbors: [{ip: 10.0.0.9, asn: 2, acceptsIPv4: true, fallover: true}]}}}}}\ncontroller: {watchNamespace: apps}\n"

const macvlanNAD = `apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: a}
spec: {config: '{"type": "macvlan", "master": "x"}'}
`

// sriovNAD is the network a as one of VFs.
func sriovNAD(fields string) string {
	return `apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: a, annotations: {k8s.v1.cni.cncf.io/resourceName: openshift.io/internal}}
spec: {config: '{"type": "sriov"` + fields + `}'}
`
}

func policyOfVFs(mtu int) string {
	return fmt.Sprintf(`apiVersion: sriovnetwork.openshift.io/v1
kind: SriovNetworkNodePolicy
metadata: {name: p, namespace: openshift-sriov-network-operator}
spec: {resourceName: internal, nodeSelector: {a: b}, numVfs: 2, mtu: %d, nicSelector: {pfNames: [ens1]}}
`, mtu)
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name     string
		from, to string // replaced in the sound resources
		more     string
		want     []string
	}{
		{name: "sound"},
		{name: "tag twice", from: `["1.1"], internal`, to: `["1.1"], tag: 5, internal`,
			more: vlan("{interfaces: ['1.1'], tag: 5, selfip_v4s: [10.0.1.1], prefixlen_v4: 24}"),
			want: []string{"error: F5SPKVlan default/v: tag 5 is also the tag of F5SPKVlan default/int; give each VLAN its own tag"}},
		{name: "two untagged", more: vlan("{interfaces: ['1.1'], selfip_v4s: [10.0.1.1], prefixlen_v4: 24}"),
			want: []string{"error: F5SPKVlan default/v: interface 1.1 carries the untagged F5SPKVlan default/int already; give one of them a tag"}},
		{name: "tagged on a VF that tags", from: `["1.1"], internal`, to: `["1.1"], tag: 5, internal`, more: sriovNAD(`, "vlan": 100`),
			want: []string{`error: F5SPKVlan default/int: interface 1.1: F5SPKVlan default/int tags with 5, and the VF of NetworkAttachmentDefinition default/a with 100 again: no frame of TMM has the tag that its neighbours expect; write tag: 0 in the F5SPKVlan, or "vlan": 0 in the config of NetworkAttachmentDefinition default/a`}},
		{name: "untagged on a VF that tags", more: sriovNAD(`, "vlan": 100`)},
		{name: "tagged on a VF", from: `["1.1"], internal`, to: `["1.1"], tag: 5, internal`, more: sriovNAD(`, "vlan": 0`)},
		{name: "longer frames than the VFs take", from: `["1.1"], internal`, to: `["1.1"], mtu: 9000, internal`, more: sriovNAD("") + "---\n" + policyOfVFs(8000),
			want: []string{"error: F5SPKVlan default/int: mtu 9000 on interface 1.1 is above the 8000 of SriovNetworkNodePolicy openshift-sriov-network-operator/p, which makes the VFs of openshift.io/internal; write mtu: 9000 in the policy, or mtu: 8000 here"}},
		{name: "as long frames as the VFs take", from: `["1.1"], internal`, to: `["1.1"], mtu: 9000, internal`, more: sriovNAD("") + "---\n" + policyOfVFs(9000)},
		{name: "longer frames than the network's interface", from: `["1.1"], internal`, to: `["1.1"], mtu: 9000, internal`,
			more: strings.Replace(macvlanNAD, `"x"`, `"x", "mtu": 8000`, 1),
			want: []string{`error: F5SPKVlan default/int: mtu 9000 on interface 1.1 is above the 8000 of NetworkAttachmentDefinition default/a; write "mtu": 9000 there, or mtu: 8000 here`}},
		{name: "as long frames as the network's interface", from: `["1.1"], internal`, to: `["1.1"], mtu: 8000, internal`, more: strings.Replace(macvlanNAD, `"x"`, `"x", "mtu": 8000`, 1)},
		{name: "longer frames than the untagged VLAN below", from: `["1.1"], internal`, to: `["1.1"], mtu: 1500, internal`,
			more: vlan("{interfaces: ['1.1'], tag: 5, mtu: 9000, selfip_v4s: [10.0.1.1], prefixlen_v4: 24}"),
			want: []string{"error: F5SPKVlan default/v: mtu 9000 is above the 1500 of F5SPKVlan default/int, which is untagged on interface 1.1; write mtu: 9000 there, or mtu: 1500 here"}},
		{name: "untagged and tagged on one interface", from: `["1.1"], internal`, to: `["1.1"], mtu: 9000, internal`,
			more: vlan("{interfaces: ['1.1'], tag: 5, mtu: 1500, selfip_v4s: [10.0.1.1], prefixlen_v4: 24}")},
		{name: "1500 is what a VLAN has without an mtu", more: sriovNAD("") + "---\n" + policyOfVFs(1400),
			want: []string{"error: F5SPKVlan default/int: mtu 1500 on interface 1.1 is above the 1400 of SriovNetworkNodePolicy openshift-sriov-network-operator/p, which makes the VFs of openshift.io/internal; write mtu: 1500 in the policy, or mtu: 1400 here"}},
		{name: "interface beyond", from: "1.1", to: "1.2",
			want: []string{"error: F5SPKVlan default/int: interface 1.2 does not exist: tmm.cniNetworks has 1; write 1.1 to 1.1, or add a network"}},
		{name: "fewer self-IPs than replicas", from: "tmm: {", to: "tmm: {replicaCount: 2, ",
			want: []string{"error: F5SPKVlan default/int: selfip_v4s holds 1 addresses for 2 TMM replicas: TMM 2 gets none; write 2 addresses, or lower tmm.replicaCount"}},
		{name: "fewer self-IPs than TMMs after scaling",
			more: "apiVersion: v1\nkind: Pod\nmetadata: {name: f5-tmm-2, annotations: {spklab.dev/tmm-index: '1'}}\n",
			want: []string{"error: F5SPKVlan default/int: selfip_v4s holds 1 addresses for 2 TMM replicas: TMM 2 gets none; write 2 addresses, or lower tmm.replicaCount"}},
		{name: "no internal VLAN", from: "internal: true, ", to: "",
			want: []string{"error: F5SPKVlan: no VLAN is marked internal: no pod's egress is routed to TMM; write internal: true on the VLAN that leads to the pods"}},
		{name: "service missing", from: "service: {name: web", to: "service: {name: wbe",
			want: []string{"warning: F5SPKIngressTCP apps/web: Service apps/wbe is missing: the virtual server is not announced; create it in the namespace of the F5SPKIngressTCP"}},
		{name: "service port missing", from: "name: web, port: 80", to: "name: web, port: 81",
			want: []string{"warning: F5SPKIngressTCP apps/web: Service apps/web has no TCP port 81: the virtual server is not announced; mend service.port"}},
		{name: "no endpoint", from: "labels: {app: web}", to: "labels: {app: x}",
			want: []string{"warning: F5SPKIngressTCP apps/web: Service apps/web has no endpoint: the virtual server is not announced; start a pod that the Service selects"}},
		{name: "watchNamespace missing", from: "watchNamespace: apps", to: "watchNamespace: app",
			want: []string{"error: HelmValues spk: controller.watchNamespace names app, and there is no such Namespace; create the namespace, or mend controller.watchNamespace"}},
		{name: "NAD missing", from: "cniNetworks: default/a", to: "cniNetworks: default/b",
			want: []string{"error: HelmValues spk: tmm.cniNetworks names default/b, and there is no such NetworkAttachmentDefinition; create it, or mend tmm.cniNetworks"}},
		{name: "destination twice", more: ingress("{destinationAddress: 192.0.2.10, destinationPort: 80}"),
			want: []string{
				"warning: F5SPKIngressTCP default/i: Service default/s is missing: the virtual server is not announced; create it in the namespace of the F5SPKIngressTCP",
				"error: F5SPKIngressTCP default/i: destination tcp 192.0.2.10:80 is also the destination of F5SPKIngressTCP apps/web; give each its own address or port"}},
		{name: "snatpool by metadata.name",
			more: "apiVersion: a/v1\nkind: F5SPKSnatpool\nmetadata: {name: m}\nspec: {name: s, addressList: [[192.0.2.1]]}\n---\napiVersion: a/v1\nkind: F5SPKEgress\nmetadata: {name: e}\nspec: {egressSnatpool: m}\n",
			want: []string{`error: F5SPKEgress default/e: egressSnatpool "m" is no spec.name of a F5SPKSnatpool; write its spec.name "s", not its metadata.name`,
				`warning: F5SPKSnatpool default/m: nothing refers to the pool "s": its addresses are not announced; write egressSnatpool or snatpool, or remove it`}},
		{name: "pool of a virtual server missing", from: "destinationPort: 80}", to: "destinationPort: 80, snatpool: s}",
			want: []string{`error: F5SPKIngressTCP apps/web: snatpool "s" is no spec.name of a F5SPKSnatpool; create it`}},
		{name: "fewer pool lists than TMMs", from: "selfip_v4s: [10.0.0.1]", to: "selfip_v4s: [10.0.0.1, 10.0.0.2]",
			more: snatpool("{name: s, addressList: [[192.0.2.1]]}") + "---\n" + egress("{egressSnatpool: s}") + "---\ntmm: {cniNetworks: default/a, replicaCount: 2}\ncontroller: {watchNamespace: apps}\n",
			want: []string{"error: F5SPKSnatpool default/m: addressList holds 1 lists for 2 TMM replicas: TMM 2 gets none; write 2 lists, or lower tmm.replicaCount"}},
		{name: "shared pool list", from: "selfip_v4s: [10.0.0.1]", to: "selfip_v4s: [10.0.0.1, 10.0.0.2]",
			more: snatpool("{name: s, sharedSnatAddressEnabled: true, addressList: [[192.0.2.1], [192.0.2.1]]}") + "---\n" + egress("{egressSnatpool: s}") + "---\ntmm: {cniNetworks: default/a, replicaCount: 2}\ncontroller: {watchNamespace: apps}\n"},
		{name: "pool without spec.name", more: snatpool("{addressList: [[192.0.2.1]]}") + "---\n" + egress("{egressSnatpool: m}")},
		{name: "pool address is a self-IP", more: snatpool("{name: s, addressList: [[10.0.0.1, 192.0.2.10]]}") + "---\n" + egress("{egressSnatpool: s}"),
			want: []string{
				"error: F5SPKSnatpool default/m: 10.0.0.1 is also an address of F5SPKVlan default/int; give the pool addresses of its own",
				"error: F5SPKSnatpool default/m: 192.0.2.10 is also an address of F5SPKIngressTCP apps/web; give the pool addresses of its own"}},
		{name: "two pools of one name", more: snatpool("{name: s, addressList: [[192.0.2.1]]}") + "---\n" + strings.Replace(snatpool("{name: s, addressList: [[192.0.2.2]]}"), "name: m", "name: n", 1) + "---\n" + egress("{egressSnatpool: s}"),
			want: []string{`error: F5SPKSnatpool default/n: spec.name "s" is also the name of F5SPKSnatpool default/m; give each its own spec.name`}},
		{name: "more TMMs than the egress has", more: egress("{maxTmmReplicas: 3}"),
			want: []string{"warning: F5SPKEgress default/e: maxTmmReplicas is 3, and the VLANs hold self-IPs for 1 TMMs; write maxTmmReplicas: 1"}},
		{name: "fewer TMMs than there are", from: "selfip_v4s: [10.0.0.1]", to: "selfip_v4s: [10.0.0.1, 10.0.0.2]",
			more: egress("{maxTmmReplicas: 1}") + "---\ntmm: {cniNetworks: default/a, replicaCount: 2}\ncontroller: {watchNamespace: apps}\n",
			want: []string{"warning: F5SPKEgress default/e: maxTmmReplicas is 1, and there are to be 2 TMMs; write maxTmmReplicas: 2, the number of self-IPs"}},
		{name: "egress on no VLAN", more: egress("{vlans: {vlanList: [xyz]}}"),
			want: []string{`warning: F5SPKEgress default/e: vlans.vlanList names "xyz", and there is no such F5SPKVlan; write the spec.name of a F5SPKVlan`}},
		{name: "subnet twice", from: "destinationAddress: 192.0.2.10,", to: "destinationAddress: 192.0.2.0, destinationPrefixLen: 24,",
			more: strings.ReplaceAll(ingress("{destinationAddress: 192.0.2.0, destinationPrefixLen: 24, destinationPort: 80}"), "name: i", "name: i, namespace: apps"),
			want: []string{
				"warning: F5SPKIngressTCP apps/i: Service apps/s is missing: the virtual server is not announced; create it in the namespace of the F5SPKIngressTCP",
				"error: F5SPKIngressTCP apps/web: destination tcp 192.0.2.0/24 port 80 is also the destination of F5SPKIngressTCP apps/i; give each its own address or port"}},
		{name: "one address, several ports and lengths", more: "apiVersion: ingresstcp.k8s.f5net.com/v1\nkind: F5SPKIngressTCP\nmetadata: {name: all, namespace: apps}\nservice: {name: web}\nspec: {destinationAddress: 192.0.2.10, destinationPort: 0}\n" +
			"---\napiVersion: ingresstcp.k8s.f5net.com/v1\nkind: F5SPKIngressTCP\nmetadata: {name: net, namespace: apps}\nservice: {name: web, port: 80}\nspec: {destinationAddress: 0.0.0.0/0, destinationPort: 80}\n"},
		{name: "SCTP port", more: "apiVersion: k8s.f5net.com/v1\nkind: F5SPKIngressNGAP\nmetadata: {name: n, namespace: apps}\nservice: {name: web, port: 80}\nspec: {destinationAddress: 192.0.2.10, destinationPort: 80}\n",
			want: []string{"warning: F5SPKIngressNGAP apps/n: Service apps/web has no SCTP port 80: the virtual server is not announced; mend service.port"}},
		{name: "neighbor without a family", from: "tmm: {",
			to:   "tmm: {dynamicRouting: {enabled: true, tmmRouting: {config: {bgp: {asn: 1, neighbors: [{ip: 10.0.0.9, asn: 2}]}}}}, ",
			want: []string{"warning: HelmValues spk: BGP neighbor 10.0.0.9 accepts no address family: nothing is announced to it; write acceptsIPv4: true or acceptsIPv6: true (both default to false)"}},
		{name: "BGP and BFD without a list", from: "prefixlen_v4: 24}", to: "prefixlen_v4: 24}", more: speaking},
		{name: "BGP and BFD by an empty list", from: "prefixlen_v4: 24}", to: "prefixlen_v4: 24, allowed_services: []}", more: speaking,
			want: []string{`warning: F5SPKVlan default/int: allowed_services does not list TCP 179 (BGP) and UDP 3784 (BFD), and a BGP neighbor is in the VLAN's network; write allowed_services: [{protocol: tcp, port: "179"}], and UDP 3784 for BFD`}},
		{name: "BFD not allowed", from: "prefixlen_v4: 24}", to: "prefixlen_v4: 24, allowed_services: [{protocol: tcp, port: bgp}]}",
			more: speaking,
			want: []string{`warning: F5SPKVlan default/int: allowed_services does not list UDP 3784 (BFD), and a BGP neighbor is in the VLAN's network; write allowed_services: [{protocol: tcp, port: "179"}], and UDP 3784 for BFD`}},
		{name: "everything allowed", from: "prefixlen_v4: 24}", to: "prefixlen_v4: 24, allowed_services: [{protocol: any}]}",
			more: speaking},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(sound, tt.from) {
				t.Fatalf("%q is not there to be replaced", tt.from)
			}
			res, _, err := decodeString(t, "f.yaml", strings.Replace(sound, tt.from, tt.to, 1)+"---\n"+tt.more)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range Check(res) {
				got = append(got, f.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	tmp := filepath.Join(dir, ".tmp-"+name)
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func TestWatch(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.yaml", vlan("{interfaces: ['1.1']}"))
	type seen struct {
		vlans, warnings int
	}
	ctx, cancel := context.WithCancel(t.Context())
	states, done := make(chan seen, 100), make(chan error, 1)
	go func() {
		done <- Watch(ctx, dir, func(r Resources, w []Warning) { states <- seen{len(r.VLANs), len(w)} })
	}()
	wait := func(want seen) {
		t.Helper()
		deadline := time.After(10 * time.Second)
		for {
			select {
			case got := <-states:
				if got == want {
					return
				}
			case <-deadline:
				t.Fatalf("never saw %+v", want)
			}
		}
	}
	wait(seen{1, 0})
	write(t, dir, "b.yaml", strings.Replace(vlan("{interfaces: ['1.2']}"), "name: v", "name: w", 1))
	wait(seen{2, 0})
	write(t, dir, "b.yaml", "a: [")
	wait(seen{1, 1})
	if err := os.Remove(filepath.Join(dir, "b.yaml")); err != nil {
		t.Fatal(err)
	}
	wait(seen{1, 0})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestWatchWithoutDirectory(t *testing.T) {
	if err := Watch(t.Context(), filepath.Join(t.TempDir(), "none"), nil); err == nil {
		t.Error("no error")
	}
}

func BenchmarkDecode(b *testing.B) {
	data, err := os.ReadFile(filepath.Join("testdata", "crs.yaml"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		objs, err := Split("f.yaml", data)
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := Decode(objs); err != nil {
			b.Fatal(err)
		}
	}
}

// TestReadAgain: what is read a second time is what a first reading would give, errors and warnings
// included, whatever the first reader has made of its own copy.
func TestReadAgain(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := NewDirectory(dir)
	read := func(when string) Resources {
		t.Helper()
		res, warnings, err := d.Read()
		fresh, freshWarnings, freshErr := NewDirectory(dir).Read()
		if diff := cmp.Diff(fresh, res, cmpopts.IgnoreUnexported(Object{}), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%s (-fresh +again):\n%s", when, diff)
		}
		if diff := cmp.Diff(freshWarnings, warnings); diff != "" || len(warnings) == 0 {
			t.Errorf("%s: warnings (-fresh +again):\n%s", when, diff)
		}
		if err == nil || freshErr == nil || err.Error() != freshErr.Error() {
			t.Errorf("%s: error %v, fresh %v", when, err, freshErr)
		}
		return res
	}
	for _, f := range []string{"crs.yaml", "nads.yaml", "sriov.yaml"} {
		data, err := os.ReadFile(filepath.Join("testdata", f))
		if err != nil {
			t.Fatal(err)
		}
		write(f, string(data))
	}
	write("odd.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: {a: b}}\nspec: {nodename: x}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: 7}\n")
	first := read("at first")
	first.Pods[0].Labels["a"], first.VLANs[0].Name = "changed", "changed"
	if again := read("again"); again.Pods[0].Labels["a"] != "b" {
		t.Errorf("labels %v are another reader's", again.Pods[0].Labels)
	}
	write("odd.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: {a: c}}\nspec: {nodename: x}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: 8}\n")
	if changed := read("changed"); changed.Pods[0].Labels["a"] != "c" {
		t.Errorf("labels %v of before the change", changed.Pods[0].Labels)
	}
}

// BenchmarkReadAgain is a directory of which nothing has changed.
func BenchmarkReadAgain(b *testing.B) {
	d := NewDirectory("testdata")
	for b.Loop() {
		if _, _, err := d.Read(); err != nil {
			b.Fatal(err)
		}
	}
}
