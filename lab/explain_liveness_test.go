package lab

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
)

// TestLivenessCause tells apart what keeps BFD down, under an established session and one that it has ended.
func TestLivenessCause(t *testing.T) {
	const rule = "table x chain in: UDP port 3784"
	addr := netip.MustParseAddr("198.51.100.1")
	for _, tc := range []struct {
		name                string
		peer                bgp.Peer
		change              func(*vip)
		condition           string // that fails; empty: none does
		object, field, says string
	}{
		{name: "up", peer: bgp.Peer{State: bgp.StateEstablished, BFD: "up"}, change: func(*vip) {}},
		{"the router speaks none", bgp.Peer{State: bgp.StateEstablished, BFD: "down"}, func(*vip) {}, "BFD", "lab file: router upstream", "neighbors[].bfd", "upstream speaks none"},
		{"both speak", bgp.Peer{State: bgp.StateEstablished, BFD: "init"}, func(v *vip) { v.spec.Routers[0].Neighbors[0].BFD = true }, "BFD", "BGP neighbor 198.51.100.1", "fallover", "BFD is init"},
		{"a filter", bgp.Peer{State: bgp.StateEstablished, BFD: "down"}, func(v *vip) {
			v.signs[sessionEnd{"default/f5-tmm-1", addr}] = sessionSigns{filtered: []growth{{"upstream", "table x chain in: handle 4", 9}, {"upstream", rule, 2}}}
		}, "BFD", "nftables of upstream", rule, "dropped 2 packets"},
		{"not listed", bgp.Peer{State: bgp.StateEstablished, BFD: "down"}, func(v *vip) {
			for i := range v.res.VLANs {
				s := v.res.VLANs[i].Spec
				v.res.VLANs[i].Spec.Allowed = s.Allowed[:min(len(s.Allowed), 1)]
			}
		}, "BFD", "F5SPKVlan default/external", "spec.allowed_services", "UDP 3784 is not listed"},
		{"ended here", bgp.Peer{State: "ACTIVE", BFD: "down", Notification: "sent " + bgp.NotificationReset}, func(*vip) {}, "session", "lab file: router upstream", "neighbors[].bfd", "BFD is down"},
		{"ended there", bgp.Peer{State: "ACTIVE", BFD: "down", Notification: "received 6/10 Cease: BFD Down"}, func(*vip) {}, "session", "lab file: router upstream", "neighbors[].bfd", "BFD is down"},
		{"reset by somebody", bgp.Peer{State: "ACTIVE", BFD: "up", Notification: "sent " + bgp.NotificationReset}, func(*vip) {}, "session", "BGP neighbor 198.51.100.1", "state", "6/4"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src, res := shipped(t)
			v := vip{spec: src.Spec, res: res, signs: map[sessionEnd]sessionSigns{}}
			tc.change(&v)
			tc.peer.Addr = addr
			st := &control.Status{Pod: "default/f5-tmm-1"}
			st.BGP.Peers = []bgp.Peer{tc.peer}
			times := bgp.DefaultBFD()
			n := bgp.Neighbor{Addr: addr, BFD: &times}
			var c chain
			v.askSession(&c, st, n, v.spec.Routers[0])
			v.askLiveness(&c, st, n, v.spec.Routers[0])
			last := c[len(c)-1]
			if tc.condition == "" {
				if !allHold(c) || last.Name != conditionBFD {
					t.Errorf("%+v, want conditions that hold", c)
				}
				return
			}
			if last.OK || last.Name != tc.condition || last.Object != tc.object || last.Field != tc.field || !strings.Contains(last.Text, tc.says) {
				t.Errorf("%+v, want %s of %s, %s: %s", last, tc.condition, tc.object, tc.field, tc.says)
			}
		})
	}
}

// TestDecided asks whether signs are enough to stop watching a session.
func TestDecided(t *testing.T) {
	there := bgp.Peer{State: bgp.StateEstablished, BFD: "up"}
	dark := bgp.Peer{State: bgp.StateEstablished, BFD: "down"}
	for _, tc := range []struct {
		name  string
		signs sessionSigns
		want  bool
	}{
		{"nothing yet", sessionSigns{peer: bgp.Peer{State: "ACTIVE"}}, false},
		{"established", sessionSigns{peer: bgp.Peer{State: bgp.StateEstablished}}, true},
		{"BFD is up", sessionSigns{peer: there}, true},
		{"BFD is down", sessionSigns{peer: dark}, false},
		{"BFD is down by a filter", sessionSigns{peer: dark, filtered: []growth{{"upstream", "handle 2", 1}}}, true},
		{"notified", sessionSigns{peer: bgp.Peer{Notification: "sent 6/4"}}, true},
		{"a timeout", sessionSigns{peer: bgp.Peer{Error: "i/o timeout"}}, false},
		{"a timeout, and nobody answers", sessionSigns{peer: bgp.Peer{Error: "i/o timeout"}, neighbour: neighbourFailed}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.signs.decided(); got != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

// TestDropped reads rules of nftables.
func TestDropped(t *testing.T) {
	port := func(n uint16) expr.Any { return &expr.Cmp{Data: binary.BigEndian.AppendUint16(nil, n)} }
	drop := &expr.Verdict{Kind: expr.VerdictDrop}
	for _, tc := range []struct {
		name  string
		exprs []expr.Any
		port  string
		drops bool
	}{
		{"BGP", []expr.Any{port(179), drop}, "TCP port 179", true},
		{"BFD", []expr.Any{port(3784), drop}, "UDP port 3784", true},
		{"another port", []expr.Any{port(80), &expr.Reject{}}, "", true},
		{"accepted", []expr.Any{port(179), &expr.Verdict{Kind: expr.VerdictAccept}}, "TCP port 179", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n, port, drops := dropped(&nftables.Rule{Exprs: append(tc.exprs, &expr.Counter{Packets: 7})})
			if n != 7 || port != tc.port || drops != tc.drops {
				t.Errorf("%d, %q, %v; want 7, %q, %v", n, port, drops, tc.port, tc.drops)
			}
		})
	}
}
