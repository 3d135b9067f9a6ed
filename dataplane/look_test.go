package dataplane

import (
	"net/netip"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/dataplane/bpf"
	"github.com/spklab/spklab/roottest"
)

// TestLook reads pins from outside and finds what a stranger has changed in them.
func TestLook(t *testing.T) {
	roottest.Need(t)
	pins := filepath.Join(bpffs(t), "tmm")
	r := newRigPinned(t, labState(), frontEnds()[0], pins)
	client, vip, member := ap("203.0.113.10:40000"), ap("192.0.2.12:5300"), ap("10.131.1.100:5300")
	for range 2 { // the second packet shows that the client means it
		r.forwarded(t, "datagram", bpf.External, fromClient(UDP, client.String(), vip.String(), ""))
	}
	held := heldBy(t, pins)
	if diff := cmp.Diff(labState().Canonical(), held.State, equateNetip); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	i := slices.IndexFunc(held.Servers, func(s Serving) bool { return s.Destination == vip && s.Protocol == UDP })
	if i < 0 || !slices.Equal(held.Servers[i].Members, []netip.AddrPort{member}) || held.Servers[i].Map != "spk_vs4" {
		t.Errorf("virtual servers %+v, want %s with %s", held.Servers, vip, member)
	}
	f := forwardOf(t, held)
	if f.From != client || f.To != vip || f.NewTo != member || f.Member != member || f.Back != (Ends{vip, client}) ||
		f.WrongDelta || !f.Current || f.MAC.String() != macNode || f.Interface != r.internal {
		t.Errorf("flow %+v", f)
	}
	if held.Counters["flows_established"] != 1 {
		t.Errorf("counters %v", held.Counters)
	}
	for _, tc := range []struct {
		name   string
		change func(*bpf.Ct4)
		wrong  func(Flow) bool
	}{
		{"delta", func(v *bpf.Ct4) { v.Ct.PortDelta ^= 0x0100 }, func(f Flow) bool { return f.WrongDelta }},
		{"source port of nobody", func(v *bpf.Ct4) { v.Ct.Sport ^= 0x0100 }, func(f Flow) bool { return f.Back == Ends{} }},
		{"owner that is not there", func(v *bpf.Ct4) { v.Ct.Owner = 4000 }, func(f Flow) bool { return !f.Member.IsValid() && !f.Egress }},
		{"former generation", func(v *bpf.Ct4) { v.Ct.Gen-- }, func(f Flow) bool { return !f.Current }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := r.d.objs.SpkCt4
			entries, err := readAll[bpf.Key4, bpf.Ct4](m)
			must(t, err)
			for k, v := range entries {
				if v.Ct.Flags&bpf.CtForward == 0 {
					continue
				}
				changed := v
				tc.change(&changed)
				must(t, m.Put(k, changed))
				if f := forwardOf(t, heldBy(t, pins)); !tc.wrong(f) {
					t.Errorf("not noticed in %+v", f)
				}
				must(t, m.Put(k, v))
			}
		})
	}
	if _, err := Look(filepath.Join(pins, "nothing")); err == nil {
		t.Error("no error where nothing is pinned")
	}
}

func heldBy(t *testing.T, pins string) Held {
	t.Helper()
	held, err := Look(pins)
	must(t, err)
	return held
}

// forwardOf is the only entry of a first packet's direction.
func forwardOf(t *testing.T, held Held) Flow {
	t.Helper()
	forward := slices.DeleteFunc(slices.Clone(held.Flows), func(f Flow) bool { return !f.Forward })
	if len(forward) != 1 || len(held.Flows) != 2 {
		t.Fatalf("%d entries, %d of them forward; want a pair", len(held.Flows), len(forward))
	}
	return forward[0]
}
