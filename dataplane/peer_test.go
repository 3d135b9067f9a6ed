package dataplane

import (
	"testing"

	"github.com/vishvananda/netlink"
)

// TestPeer sends datagrams between veth pairs and looks at how they leave: what goes on at the
// other end at once is not sent by the TMM's own end.
func TestPeer(t *testing.T) {
	const packets = 200
	for _, at := range []Frontend{FrontendTCX, FrontendClsact} {
		t.Run(string(at), func(t *testing.T) {
			n := newVethNetwork(t, at)
			d := n.start(t, waysState("80", "5300"))
			for _, w := range ways("80", "5300", UDP) {
				t.Run(w.name, func(t *testing.T) {
					before := n.sent(t)
					n.datagrams(t, w, packets)
					if sent := n.sent(t) - before; sent >= packets {
						t.Errorf("the TMM's interfaces have sent %d packets themselves", sent)
					}
				})
			}
			status, err := d.Frontends()
			must(t, err)
			for _, s := range status {
				if !s.ToPeer {
					t.Errorf("%s: not to the other end: %+v", s.Name, s)
				}
			}
		})
	}
}

// sent is how many packets the TMM's two interfaces have transmitted.
func (n *network) sent(t testing.TB) uint64 {
	t.Helper()
	return n.tmm.link(t, "net1").Attrs().Statistics.TxPackets + n.tmm.link(t, "net2").Attrs().Statistics.TxPackets
}

// TestNoPeer looks at interfaces whose other end cannot take packets: the kernel drops what is
// given to an end in the same namespace, and a macvlan has none.
func TestNoPeer(t *testing.T) {
	a, b := newNamespace(t), newNamespace(t)
	cable(t, a, "far", b, "eth0")
	cable(t, a, "near", a, "nearer")
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = "child", a.link(t, "far").Attrs().Index
	must(t, a.links.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}))
	for name, want := range map[string]bool{"far": true, "near": false, "nearer": false, "child": false, "lo": false} {
		var d device
		a.do(t, func() (err error) {
			d, err = look(a.link(t, name).Attrs().Index)
			return err
		})
		if d.Peer != want {
			t.Errorf("%s: %v", name, d.Peer)
		}
	}
}
