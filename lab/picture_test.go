package lab

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/topo/picture"
)

// TestPictureOfNodes says of nodes of each kind how they do.
func TestPictureOfNodes(t *testing.T) {
	in := Inspection{
		Pods: []PodInfo{{Name: "app-1", Worker: "w1", Ready: true}, {Name: "app-2", Worker: "w1"}},
		TMMs: []control.Status{
			{Pod: "default/tmm-1", Serving: true, VirtualServers: []control.VirtualServerStatus{{State: control.StateUp, Announced: true}, {State: control.StateDown}}, BGP: control.BGPStatus{Peers: []bgp.Peer{{State: bgp.StateEstablished}}}},
			{Pod: "default/tmm-2", Serving: true, BGP: control.BGPStatus{Peers: []bgp.Peer{{State: "active"}}}},
			{Pod: "default/tmm-3"},
		},
		Routers: []bgp.RouterState{{Name: "r", ASN: 65000, Peers: []bgp.Peer{{State: bgp.StateEstablished}, {State: "active"}}}},
		Silent:  map[string]string{"ovn-node-w2": "connection refused"},
	}
	tests := []struct {
		node  Node
		state picture.State
		notes []string
	}{
		{Node{Name: "w1", Kind: KindWorker}, picture.Good, nil},
		{Node{Name: "w2", Kind: KindWorker, Processes: []Process{{Name: "ovn-node-w2"}}}, picture.Bad, []string{"ovn-node-w2 gives no answer"}},
		{Node{Name: "app-1", Kind: KindPod, Worker: "w1"}, picture.Good, nil},
		{Node{Name: "app-2", Kind: KindPod, Worker: "w1"}, picture.Bad, []string{"not ready"}},
		{Node{Name: "app-3", Kind: KindPod, Worker: "w1"}, picture.Bad, []string{"not ready"}},
		{Node{Name: "tmm-1", Kind: KindTMM}, picture.Good, []string{"1 of 2 virtual servers up", "1 announced, BGP 1 of 1"}},
		{Node{Name: "tmm-2", Kind: KindTMM}, picture.Bad, []string{"0 of 0 virtual servers up", "0 announced, BGP 0 of 1"}},
		{Node{Name: "tmm-3", Kind: KindTMM}, picture.Bad, []string{"does not serve", "0 of 0 virtual servers up", "0 announced, BGP 0 of 0"}},
		{Node{Name: "r", Kind: KindRouter}, picture.Good, []string{"AS 65000, 1 BGP sessions", "0 routes"}},
	}
	for _, tt := range tests {
		t.Run(tt.node.Name, func(t *testing.T) {
			got := in.picture(tt.node)
			if got.State != tt.state || !cmp.Equal(got.Notes, tt.notes) {
				t.Errorf("%s %q, want %s %q", got.State, got.Notes, tt.state, tt.notes)
			}
		})
	}
}

// TestSelfIPs are on the interface of their VLAN, and tagged ones on the device that stands for the tag.
func TestSelfIPs(t *testing.T) {
	tmm := control.Status{
		Pod:        "default/tmm-1",
		Interfaces: []control.InterfaceStatus{{Number: "1.1", Name: "net1"}, {Number: "1.2", Name: "net2"}},
		VLANs: []control.VLANStatus{
			{Interface: "1.2", SelfIPs: []netip.Prefix{netip.MustParsePrefix("198.51.100.16/26"), netip.MustParsePrefix("2001:db8:51::16/64")}},
			{Interface: "1.2.100", SelfIPs: []netip.Prefix{netip.MustParsePrefix("198.51.100.80/26")}},
			{Interface: "1.3", SelfIPs: []netip.Prefix{netip.MustParsePrefix("203.0.113.16/24")}}, // that it has not got
		},
	}
	var got []string
	for _, s := range selfIPs(strings.ToUpper, []control.Status{tmm}) {
		got = append(got, s.Addr.Netns+" "+s.Addr.Link+" "+s.Addr.Prefix.String())
	}
	want := []string{"TMM-1 net2 198.51.100.16/26", "TMM-1 net2 2001:db8:51::16/64", "TMM-1 net2.100 198.51.100.80/26"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
