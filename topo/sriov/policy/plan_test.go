package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/topo/sriov"
)

// node is a worker with two cards of Intel's and one of another maker.
func node() Node {
	port := func(address, name, vendor, device string, offset, stride int) Port {
		return Port{PF: sriov.PF{
			Address: address, Name: name, Vendor: vendor, Device: device, MTU: 1500, Up: true, LinkType: "ETH",
			TotalVFs: 7, Offset: offset, Stride: stride,
		}}
	}
	return Node{
		Name: "worker-1", Labels: map[string]string{"sriov": "true"},
		Ports: []Port{
			port("0000:02:00.0", "ens2f0", "8086", "10c9", 128, 2),
			port("0000:01:00.0", "ens1f0", "8086", "10c9", 128, 2),
			port("0000:03:00.0", "ens3f0", "15b3", "1017", 1, 1),
		},
	}
}

func pol(name string, priority, numVFs int, s api.NICSelector, changes ...func(*api.SriovPolicySpec)) api.SriovNetworkNodePolicy {
	p := api.SriovNetworkNodePolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "op", Name: name},
		Spec:       api.SriovPolicySpec{ResourceName: name, Priority: priority, NumVFs: numVFs, NICSelector: s},
	}
	for _, c := range changes {
		c(&p.Spec)
	}
	return p
}

func names(n ...string) api.NICSelector { return api.NICSelector{PFNames: n} }

// text is a plan in lines.
func text(p Plan) string {
	var b strings.Builder
	for _, x := range p.Ports {
		fmt.Fprintf(&b, "%s [%s]\n", x.Target, strings.Join(x.Changes, ", "))
	}
	for _, x := range p.Pools {
		fmt.Fprintf(&b, "%s %s vfio=%t\n", x.Resource, strings.Join(x.VFs, ","), x.VFIO)
	}
	for _, x := range p.Problems {
		fmt.Fprintf(&b, "problem %s\n", x)
	}
	for _, x := range p.Notes {
		fmt.Fprintf(&b, "note %s\n", x)
	}
	return b.String()
}

func vfio(s *api.SriovPolicySpec)     { s.DeviceType = api.DeviceVFIO }
func external(s *api.SriovPolicySpec) { s.ExternallyManaged = true }

func TestSelection(t *testing.T) {
	tests := []struct {
		name string
		s    api.NICSelector
		want []string
	}{
		{"vendor", api.NICSelector{Vendor: "8086"}, []string{"ens1f0", "ens2f0"}},
		{"vendor and device", api.NICSelector{Vendor: "15b3", DeviceID: "1017"}, []string{"ens3f0"}},
		{"vendor and another's device", api.NICSelector{Vendor: "8086", DeviceID: "1017"}, nil},
		{"root device", api.NICSelector{RootDevices: []string{"0000:02:00.0", "0000:03:00.0"}}, []string{"ens2f0", "ens3f0"}},
		{"root device and vendor", api.NICSelector{Vendor: "8086", RootDevices: []string{"0000:02:00.0", "0000:03:00.0"}}, []string{"ens2f0"}},
		{"name", names("ens1f0#0-1"), []string{"ens1f0"}},
		{"name that the inventory gives", names("ens224"), []string{"ens2f0"}},
		{"filter", api.NICSelector{NetFilter: "openstack/NetworkID: a"}, []string{"ens1f0"}},
		{"nothing", api.NICSelector{}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := node()
			n.Ports[0].As, n.Ports[1].NetFilter = "ens224", "openstack/NetworkID:a"
			var got []string
			for _, p := range For(n, []api.SriovNetworkNodePolicy{pol("p", 0, 2, tt.s)}).Ports {
				got = append(got, p.Port.Name)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFor(t *testing.T) {
	tests := []struct {
		name     string
		policies []api.SriovNetworkNodePolicy
		change   func(*Node)
		want     string
	}{
		{
			name: "two PFs in one pool", policies: []api.SriovNetworkNodePolicy{pol("r", 0, 2, api.NICSelector{Vendor: "8086"})},
			want: `pf 0000:01:00.0 vfs 2 vf 0 netdevice vf 1 netdevice [numVfs 0 → 2]
pf 0000:02:00.0 vfs 2 vf 0 netdevice vf 1 netdevice [numVfs 0 → 2]
openshift.io/r 0000:01:10.0,0000:01:10.2,0000:02:10.0,0000:02:10.2 vfio=false
`,
		},
		{
			name: "ranges of one PF", policies: []api.SriovNetworkNodePolicy{
				pol("b", 5, 4, names("ens1f0#2-3"), vfio, func(s *api.SriovPolicySpec) { s.MTU = 9000 }), pol("a", 5, 4, names("ens1f0#0-1")),
			},
			want: `pf 0000:01:00.0 vfs 4 mtu 9000 vf 0 netdevice vf 1 netdevice vf 2 vfio-pci mtu 9000 vf 3 vfio-pci mtu 9000 [numVfs 0 → 4, mtu 1500 → 9000, vf 2 driver → vfio-pci, vf 3 driver → vfio-pci]
openshift.io/a 0000:01:10.0,0000:01:10.2 vfio=false
openshift.io/b 0000:01:10.4,0000:01:10.6 vfio=true
`,
		},
		{
			name: "0 wins over 99", policies: []api.SriovNetworkNodePolicy{pol("all", 99, 4, api.NICSelector{Vendor: "15b3"}), pol("one", 0, 2, names("ens3f0"))},
			want: `pf 0000:03:00.0 vfs 2 vf 0 netdevice vf 1 netdevice [numVfs 0 → 2]
openshift.io/one 0000:03:00.1,0000:03:00.2 vfio=false
note SriovNetworkNodePolicy op/all: is left out on PF ens3f0 (0000:03:00.0): SriovNetworkNodePolicy op/one wins with priority 0 over 99 and has VFs 0 to 1
`,
		},
		{
			name: "another node's policy", policies: []api.SriovNetworkNodePolicy{pol("r", 0, 2, names("ens1f0"), func(s *api.SriovPolicySpec) { s.NodeSelector = map[string]string{"sriov": "false"} })},
			want: "",
		},
		{
			name: "nothing to do", policies: []api.SriovNetworkNodePolicy{pol("r", 0, 1, names("ens2f0"))},
			change: func(n *Node) { exist(&n.Ports[0], 1) },
			want: `pf 0000:02:00.0 vfs 1 vf 0 netdevice []
openshift.io/r 0000:02:10.0 vfio=false
`,
		},
		{
			name: "externally managed", policies: []api.SriovNetworkNodePolicy{pol("r", 0, 2, names("ens2f0#1-1"), external)},
			change: func(n *Node) {
				exist(&n.Ports[0], 3)
				n.Ports[0].Up, n.Ports[0].Protected = false, []string{"carries the default route"}
			},
			want: `pf 0000:02:00.0 vfs 3 external vf 1 netdevice []
openshift.io/r 0000:02:10.2 vfio=false
`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := node()
			if tt.change != nil {
				tt.change(&n)
			}
			if diff := cmp.Diff(tt.want, text(For(n, tt.policies))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			slices.Reverse(tt.policies)
			if diff := cmp.Diff(tt.want, text(For(n, tt.policies))); diff != "" {
				t.Errorf("in another order (-want +got)\n%s", diff)
			}
		})
	}
}

// exist gives a port VFs that are there already.
func exist(p *Port, n int) {
	for i := range n {
		a, err := p.VFAddress(i)
		if err != nil {
			panic(err)
		}
		p.VFs = append(p.VFs, sriov.VF{Index: i, Address: a, Driver: "igbvf", Name: fmt.Sprintf("%sv%d", p.Name, i)})
	}
	p.NumVFs = n
}

func TestProblems(t *testing.T) {
	const is = "SriovNetworkNodePolicy op/"
	tests := []struct {
		name     string
		policies []api.SriovNetworkNodePolicy
		change   func(*Port) // ens1f0
		want     string
	}{
		{"wrong vendor", []api.SriovNetworkNodePolicy{pol("r", 0, 2, api.NICSelector{Vendor: "15b3", PFNames: []string{"ens1f0"}})}, nil,
			is + "r: its nicSelector chooses no PF: worker-1: ens1f0 (0000:01:00.0): its vendor is 8086, not 15b3; ens2f0 (0000:02:00.0): its vendor is 8086, not 15b3; ens3f0 (0000:03:00.0): it is not among pfNames [ens1f0]"},
		{"no such PF", []api.SriovNetworkNodePolicy{pol("r", 0, 2, names("ens9f0#0-1"))}, nil,
			is + "r: its nicSelector chooses no PF: worker-1: ens1f0 (0000:01:00.0): it is not among pfNames [ens9f0#0-1]; ens2f0 (0000:02:00.0): it is not among pfNames [ens9f0#0-1]; ens3f0 (0000:03:00.0): it is not among pfNames [ens9f0#0-1]"},
		{"numVfs too large", []api.SriovNetworkNodePolicy{pol("r", 0, 8, names("ens1f0"))}, nil,
			is + "r: numVfs: 8, and PF ens1f0 (0000:01:00.0) can have 7 (sriov_totalvfs); write at most that"},
		{"beyond the inventory", []api.SriovNetworkNodePolicy{pol("r", 0, 5, names("ens1f0"), func(s *api.SriovPolicySpec) { s.MTU = 9000 })},
			func(p *Port) { p.MaxVFs, p.MaxMTU = 4, 2000 },
			is + "r: numVfs: 5, and the inventory allows 4 of PF ens1f0 (0000:01:00.0); write at most that\n" +
				is + "r: mtu: 9000, and the inventory allows 2000 of PF ens1f0 (0000:01:00.0); write at most that"},
		{"default route", []api.SriovNetworkNodePolicy{pol("r", 0, 2, names("ens1f0"))},
			func(p *Port) {
				p.Protected = []string{"carries the SSH session from 198.51.100.7", "carries the default route by br0"}
			},
			is + "r: PF ens1f0 (0000:01:00.0) is refused: it carries the SSH session from 198.51.100.7 and carries the default route by br0; choose another PF, or reach this node another way"},
		{"default route, nothing to do", []api.SriovNetworkNodePolicy{pol("r", 0, 1, names("ens1f0"))},
			func(p *Port) { exist(p, 1); p.Protected = []string{"carries the default route"} },
			is + "r: PF ens1f0 (0000:01:00.0) is refused: it carries the default route; choose another PF, or reach this node another way"},
		{"not to be touched", []api.SriovNetworkNodePolicy{pol("r", 0, 2, names("ens1f0"))}, func(p *Port) { p.Forbidden = "hil/rack.yml:7 says so" },
			is + "r: PF ens1f0 (0000:01:00.0) is not to be touched: hil/rack.yml:7 says so"},
		{"overlap", []api.SriovNetworkNodePolicy{pol("a", 10, 7, names("ens1f0#2-5")), pol("b", 20, 7, names("ens1f0#0-3"))}, nil,
			is + "b: VFs 0 to 3 of PF ens1f0 (0000:01:00.0) overlap VFs 2 to 5 of " + is + "a; write ranges apart within VFs 0 to 6, which is all that it can have"},
		{"overlap of one priority", []api.SriovNetworkNodePolicy{pol("a", 1, 2, api.NICSelector{RootDevices: []string{"0000:01:00.0"}}), pol("b", 1, 2, names("ens1f0"))}, nil,
			is + "a: VFs 0 to 1 of PF ens1f0 (0000:01:00.0) overlap VFs 0 to 1 of " + is + "b; write ranges apart: pfNames: [ens1f0#2-3] and numVfs: 4"},
		{"overlap with room", []api.SriovNetworkNodePolicy{pol("a", 10, 4, names("ens1f0#0-1")), pol("b", 20, 4, names("ens256#1-2"))}, func(p *Port) { p.As = "ens256" },
			is + "b: VFs 1 to 2 of PF ens1f0, ens256 (0000:01:00.0) overlap VFs 0 to 1 of " + is + "a; write ranges apart: pfNames: [ens256#2-3]"},
		{"shrinking used VFs", []api.SriovNetworkNodePolicy{pol("r", 0, 1, names("ens1f0"))},
			func(p *Port) { exist(p, 3); p.VFs[2].Used = "its interface is in another network namespace" },
			is + "r: PF ens1f0 (0000:01:00.0) has 3 VFs and should have 1, for which all are removed, and VF 2 (0000:01:10.4) is in use: its interface is in another network namespace; end its use first"},
		{"fewer than externally made", []api.SriovNetworkNodePolicy{pol("r", 0, 3, names("ens1f0"), external)}, func(p *Port) { exist(p, 2) },
			is + "r: numVfs: 3, and PF ens1f0 (0000:01:00.0) has 2; with externallyManaged somebody else makes them first"},
		{"larger MTU than externally set", []api.SriovNetworkNodePolicy{pol("r", 0, 2, names("ens1f0"), external, func(s *api.SriovPolicySpec) { s.MTU = 9000 })}, func(p *Port) { exist(p, 2) },
			is + "r: mtu: 9000, and PF ens1f0 (0000:01:00.0) has 1500; with externallyManaged somebody else sets it first"},
		{"externally managed by one", []api.SriovNetworkNodePolicy{pol("a", 0, 2, names("ens1f0#0-0"), external), pol("b", 1, 2, names("ens1f0#1-1"))}, func(p *Port) { exist(p, 2) },
			is + "b: PF ens1f0 (0000:01:00.0) is externallyManaged: false here and true in " + is + "a; write the same in both"},
		{"InfiniBand", []api.SriovNetworkNodePolicy{pol("r", 0, 2, names("ens1f0"), func(s *api.SriovPolicySpec) { s.LinkType = "IB" })}, nil,
			is + "r: linkType: IB, and PF ens1f0 (0000:01:00.0) is ETH, which its firmware's tool changes; write linkType: eth"},
		{"switchdev", []api.SriovNetworkNodePolicy{pol("r", 0, 2, names("ens1f0"), func(s *api.SriovPolicySpec) { s.ESwitchMode = "switchdev" })}, nil,
			is + "r: eSwitchMode: switchdev, and PF ens1f0 (0000:01:00.0) is in legacy; change it first: devlink dev eswitch set pci/0000:01:00.0 mode switchdev"},
		{"two device types of a resource", []api.SriovNetworkNodePolicy{
			pol("a", 0, 2, names("ens1f0"), func(s *api.SriovPolicySpec) { s.ResourceName = "r" }),
			pol("b", 0, 2, names("ens2f0"), vfio, func(s *api.SriovPolicySpec) { s.ResourceName = "r" }),
		}, nil, is + "b: resource openshift.io/r has VFs of both device types; write one deviceType for one resourceName"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := node()
			if tt.change != nil {
				tt.change(&n.Ports[1])
			}
			plan := ForAll([]Node{n}, tt.policies)[0]
			var got []string
			for _, p := range plan.Problems {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, "\n")); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestForAll asks of a policy that it chooses a PF somewhere, not everywhere.
func TestForAll(t *testing.T) {
	bare := Node{Name: "worker-2", Labels: map[string]string{"sriov": "true"}}
	one := pol("one", 0, 1, names("ens1f0"))
	missing := pol("missing", 0, 1, names("ens9"))
	nowhere := pol("nowhere", 0, 1, names("ens1f0"), func(s *api.SriovPolicySpec) { s.NodeSelector = map[string]string{"zone": "b"} })
	plans := ForAll([]Node{bare, {Name: "worker-3"}}, []api.SriovNetworkNodePolicy{missing, nowhere})
	want := "problem SriovNetworkNodePolicy op/missing: its nicSelector chooses no PF: worker-2: it has no PF; worker-3: it has no PF\n" +
		"note SriovNetworkNodePolicy op/nowhere: its nodeSelector map[zone:b] chooses no node\n"
	if diff := cmp.Diff(want, text(plans[0])+text(plans[1])); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	plans = ForAll([]Node{bare, node()}, []api.SriovNetworkNodePolicy{one})
	if len(plans[0].Problems)+len(plans[1].Problems) > 0 || len(plans[1].Pools) != 1 {
		t.Errorf("%s%s", text(plans[0]), text(plans[1]))
	}
}
