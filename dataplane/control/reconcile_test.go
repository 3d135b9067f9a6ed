package control

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/bgp"
)

// world is a fake of every effect; it writes down in which order they come.
type world struct {
	t       *testing.T
	calls   []string
	state   dataplane.State
	now     time.Time
	ended   time.Time // of the speaker before the one that was opened last
	killed  time.Time // that it was told
	lossy   bool      // the maps do not take virtual servers nor pools
	failing error
	refused *dataplane.Refusal // with lossy: why
	deaf    error              // what a claim meets
	joined  []Claim
	passing []uint64 // packets by each look at what is carried; one connection
	looked  int
}

func (w *world) call(format string, args ...any) {
	w.calls = append(w.calls, fmt.Sprintf(format, args...))
}

// take returns the calls since the last take.
func (w *world) take() string {
	out := strings.Join(w.calls, "; ")
	w.calls = nil
	return out
}

func (w *world) SetInterfaces(i []dataplane.Interface) error {
	w.call("interfaces %d", len(i))
	return nil
}

func (w *world) Apply(s dataplane.State) (dataplane.Changes, error) {
	if w.failing != nil {
		return dataplane.Changes{}, w.failing
	}
	if w.lossy {
		s.VirtualServers, s.SNATPools = nil, nil
	}
	if w.refused != nil {
		s.VirtualServers = slices.DeleteFunc(slices.Clone(s.VirtualServers), func(v dataplane.VirtualServer) bool { return v.Name == w.refused.Name })
	}
	var names []string
	for _, vs := range s.VirtualServers {
		mark := ""
		for _, m := range vs.Members {
			if m.Draining {
				mark += "~"
			} else {
				mark += "+"
			}
		}
		names = append(names, vs.Destination.String()+mark)
	}
	w.call("program [%s]", strings.Join(names, " "))
	w.state = s.Canonical()
	if w.refused != nil {
		return dataplane.Changes{}, errors.Join(errors.Join(w.failing, w.refused))
	}
	return dataplane.Changes{}, nil
}

// carries looks at the next of what passes, and at the last one for ever.
func (w *world) carries() (carried, error) {
	if len(w.passing) == 0 {
		return carried{}, nil
	}
	i := min(w.looked, len(w.passing)-1)
	w.looked++
	return carried{1, w.passing[i]}, nil
}

func (w *world) Read() (dataplane.State, error) { return w.state, nil }

func (w *world) Set(_ context.Context, want []bgp.Announcement) error {
	var names []string
	for _, a := range want {
		names = append(names, a.Prefix.String())
		held := false
		for _, vs := range w.state.VirtualServers {
			held = held || vs.Destination.Addr() == a.Prefix.Addr()
		}
		for _, pool := range w.state.SNATPools {
			held = held || slices.Contains(pool.Addrs, a.Prefix.Addr())
		}
		if !held {
			w.t.Errorf("%s is announced and not programmed", a.Prefix)
		}
	}
	w.call("announce [%s]", strings.Join(names, " "))
	return nil
}

func (w *world) Peers(context.Context) ([]bgp.Peer, error) { return nil, nil }

func (w *world) RIB(context.Context) (bgp.RIB, error) { return bgp.RIB{}, nil }

func (w *world) Close() error {
	w.call("close speaker")
	return nil
}

func newWorld(t *testing.T) (*world, *reconciler, *ctl.Log) {
	w := &world{t: t, now: time.Unix(1000, 0)}
	log := ctl.NewLog("tmm")
	e := effects{
		plane:   w,
		network: func(Network) error { w.call("network"); return nil },
		join: func(claims []Claim) error {
			w.joined = claims
			return nil
		},
		claim: func(c Claim) error {
			w.call("claim %s on %s", c.Addr, c.Link)
			return w.deaf
		},
		now:     func() time.Time { return w.now },
		carries: w.carries,
		wait: func(ctx context.Context, d time.Duration) bool {
			w.call("wait %s", d)
			w.now = w.now.Add(d)
			return ctx.Err() == nil
		},
		speak: func(_ context.Context, c bgp.SpeakerConfig) (speaker, error) {
			w.call("open speaker %d", c.ASN)
			w.ended, w.killed = c.Ended, c.Killed
			return w, nil
		},
	}
	return w, newReconciler(e, log, 300*time.Millisecond), log
}

// want makes a Desired with virtual servers: "192.0.2.10:80+" has a ready member, "~" a
// draining one.
func want(servers ...string) Desired {
	d := Desired{Speaker: &bgp.SpeakerConfig{ASN: 65001}}
	for _, s := range servers {
		dst := netip.MustParseAddrPort(strings.TrimRight(s, "+~"))
		vs := dataplane.VirtualServer{Name: "apps/web", Protocol: dataplane.TCP, Destination: dst}
		ready := false
		for i, mark := range strings.TrimLeft(s, "0123456789.:") {
			m := dataplane.Member{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), 8080), Draining: mark == '~'}
			ready = ready || !m.Draining
			vs.Members = append(vs.Members, m)
		}
		d.State.VirtualServers = append(d.State.VirtualServers, vs)
		if ready {
			p := netip.PrefixFrom(dst.Addr(), 32)
			d.Announce = append(d.Announce, bgp.Announcement{Prefix: p, NextHop: netip.MustParseAddr("198.51.100.16")})
		}
	}
	d.State = d.State.Canonical()
	return d
}

func kinds(log *ctl.Log) string {
	var out []string
	for _, e := range log.Events() {
		out = append(out, strings.TrimPrefix(e.Kind, "vs-")+" "+e.Object)
	}
	return strings.Join(out, "; ")
}

func equal(t *testing.T, want, got string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOrderComingAndGoing(t *testing.T) {
	w, r, log := newWorld(t)
	r.reconcile(t.Context(), want("192.0.2.10:80+"))
	equal(t, "network; program [192.0.2.10:80+]; open speaker 65001; announce [192.0.2.10/32]", w.take())

	r.reconcile(t.Context(), want("192.0.2.10:80+"))
	equal(t, "network; program [192.0.2.10:80+]", w.take())

	next := r.reconcile(t.Context(), want()) // the last endpoint is gone: its members drain
	equal(t, "announce []; network; program [192.0.2.10:80~]", w.take())
	if got := next.Sub(w.now); got != 300*time.Millisecond {
		t.Errorf("comes again in %s", got)
	}
	w.now = w.now.Add(299 * time.Millisecond)
	r.reconcile(t.Context(), want())
	equal(t, "network; program [192.0.2.10:80~]", w.take())
	w.now = w.now.Add(time.Millisecond)
	if next := r.reconcile(t.Context(), want()); !next.IsZero() {
		t.Errorf("comes again at %s", next)
	}
	equal(t, "network; program []", w.take())
	equal(t, "programmed 192.0.2.10/32; announced 192.0.2.10/32; withdrawn 192.0.2.10/32; unprogrammed 192.0.2.10/32", kinds(log))
}

func TestDrainOfTheResources(t *testing.T) {
	w, r, _ := newWorld(t)
	r.reconcile(t.Context(), want("192.0.2.10:80+"))
	w.take()
	for _, step := range []struct {
		name  string
		drain *time.Duration
		after time.Duration // since the step before
		left  time.Duration // until it wants to come again; 0: nothing drains any more
	}{
		{"longer than the process's own", new(20 * time.Second), 0, 20 * time.Second},
		{"some of it is over", new(20 * time.Second), 5 * time.Second, 15 * time.Second},
		{"shorter, for what drains already", new(6 * time.Second), 0, time.Second},
		{"as the process was started", nil, 0, 0},
	} {
		t.Run(step.name, func(t *testing.T) {
			w.now = w.now.Add(step.after)
			d := want()
			d.Drain = step.drain
			next := r.reconcile(t.Context(), d)
			if step.left == 0 {
				if !next.IsZero() || len(w.state.VirtualServers) != 0 {
					t.Errorf("comes again at %s with %+v", next, w.state.VirtualServers)
				}
				return
			}
			if got := next.Sub(w.now); got != step.left || len(w.state.VirtualServers) != 1 {
				t.Errorf("comes again in %s with %+v", got, w.state.VirtualServers)
			}
		})
	}
}

func TestOnlyDrainingMembersAreKeptAndNotAnnounced(t *testing.T) {
	w, r, _ := newWorld(t)
	r.reconcile(t.Context(), want("192.0.2.10:80++"))
	w.take()
	r.reconcile(t.Context(), want("192.0.2.10:80~~"))
	equal(t, "announce []; network; program [192.0.2.10:80~~]", w.take())
	w.now = w.now.Add(time.Hour)
	r.reconcile(t.Context(), want("192.0.2.10:80~~"))
	equal(t, "network; program [192.0.2.10:80~~]", w.take())
	r.reconcile(t.Context(), want("192.0.2.10:80~+"))
	equal(t, "network; program [192.0.2.10:80~+]; announce [192.0.2.10/32]", w.take())
}

func TestComesBackWhileDraining(t *testing.T) {
	w, r, _ := newWorld(t)
	r.reconcile(t.Context(), want("192.0.2.10:80+"))
	r.reconcile(t.Context(), want())
	w.take()
	r.reconcile(t.Context(), want("192.0.2.10:80+"))
	equal(t, "network; program [192.0.2.10:80+]; announce [192.0.2.10/32]", w.take())
}

func TestAddressSharedByTwoVirtualServers(t *testing.T) {
	w, r, _ := newWorld(t)
	d := want("192.0.2.10:80+", "192.0.2.10:81+")
	d.Announce = d.Announce[:1]
	r.reconcile(t.Context(), d)
	w.take()
	r.reconcile(t.Context(), want("192.0.2.10:81+")) // the address stays announced
	equal(t, "network; program [192.0.2.10:81+]", w.take())
}

func TestSubnetIsNotItsFirstAddress(t *testing.T) {
	w, r, log := newWorld(t)
	d := want("192.0.2.0:80+", "192.0.2.0:80+")
	d.State.VirtualServers[0].HostBits = 8
	d.Announce[0].Prefix = netip.MustParsePrefix("192.0.2.0/24")
	r.reconcile(t.Context(), d)
	equal(t, "network; program [192.0.2.0:80+ 192.0.2.0:80+]; open speaker 65001; announce [192.0.2.0/24 192.0.2.0/32]", w.take())
	equal(t, "programmed 192.0.2.0/32; programmed 192.0.2.0/24; announced 192.0.2.0/32; announced 192.0.2.0/24", kinds(log))
	r.reconcile(t.Context(), want("192.0.2.0:80+")) // the subnet goes, the host stays
	equal(t, "announce [192.0.2.0/32]; network; program [192.0.2.0:80+ 192.0.2.0:80~]", w.take())
}

func TestClaims(t *testing.T) {
	w, r, _ := newWorld(t)
	d := want("198.51.100.80:80+", "198.51.100.80:81+")
	d.Announce, d.Speaker = nil, nil
	for i := range d.State.VirtualServers {
		d.State.VirtualServers[i].ARP = true
	}
	d.Claims = []Claim{{Link: "net2", Addr: netip.MustParseAddr("198.51.100.80")}}
	program := "network; program [198.51.100.80:80+ 198.51.100.80:81+]"
	w.lossy = true
	r.reconcile(t.Context(), d)
	equal(t, "network; program []", w.take())
	w.lossy, w.deaf = false, errors.New("link down")
	if next := r.reconcile(t.Context(), d); next.IsZero() {
		t.Error("a claim that failed is not tried again")
	}
	equal(t, program+"; claim 198.51.100.80 on net2", w.take())
	w.deaf = nil
	r.reconcile(t.Context(), d)
	equal(t, program+"; claim 198.51.100.80 on net2", w.take())
	r.reconcile(t.Context(), d)
	equal(t, program, w.take())
	d.State = d.State.Canonical() // another TMM has it for a while
	away := d
	away.Claims = nil
	r.reconcile(t.Context(), away)
	r.reconcile(t.Context(), d)
	equal(t, program+"; "+program+"; claim 198.51.100.80 on net2", w.take())
	if diff := cmp.Diff(d.Claims, w.joined, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("groups: %s", diff)
	}
}

func TestPoolIsAnnouncedOnceProgrammed(t *testing.T) {
	w, r, _ := newWorld(t)
	d := want()
	d.State.SNATPools = []dataplane.SNATAddresses{{Name: "p", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.100")}}}
	d.Announce = []bgp.Announcement{{Prefix: netip.MustParsePrefix("192.0.2.100/32")}}
	w.lossy = true
	r.reconcile(t.Context(), d)
	equal(t, "network; program []; open speaker 65001", w.take())
	w.lossy = false
	r.reconcile(t.Context(), d)
	equal(t, "network; program []; announce [192.0.2.100/32]", w.take())
	r.reconcile(t.Context(), want())
	equal(t, "announce []; network; program []", w.take())
}

func TestLeavingKeepsItsPool(t *testing.T) {
	w, r, _ := newWorld(t)
	d := want("192.0.2.10:80+")
	d.State.VirtualServers[0].SNAT, d.State.VirtualServers[0].SNATPool = dataplane.SNATPool, "p"
	d.State.SNATPools = []dataplane.SNATAddresses{{Name: "p", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.100")}}}
	r.reconcile(t.Context(), d)
	r.reconcile(t.Context(), want()) // both resources go at once
	if len(w.state.VirtualServers) != 1 || len(w.state.SNATPools) != 1 {
		t.Errorf("while it drains: %+v", w.state)
	}
	w.now = w.now.Add(time.Second)
	r.reconcile(t.Context(), want())
	if len(w.state.VirtualServers) != 0 || len(w.state.SNATPools) != 0 {
		t.Errorf("drained: %+v", w.state)
	}
}

func TestEgressCountsAsItIs(t *testing.T) {
	w, r, _ := newWorld(t)
	d := want()
	d.State.Egresses = []dataplane.Egress{{Name: "e", SNAT: dataplane.SNATPool, SNATPool: "p"}}
	d.State = d.State.Canonical()
	r.reconcile(t.Context(), d)
	if snap := r.snapshot(); !snap.egresses["e"] {
		t.Error("an egress that is held is not programmed")
	}
	w.state.Egresses[0].SNATPool = ""
	r.compare(d.State, w.state)
	if snap := r.snapshot(); snap.egresses["e"] {
		t.Error("an egress that lost its pool is programmed")
	}
}

func TestNotProgrammedIsNotAnnounced(t *testing.T) {
	w, r, _ := newWorld(t)
	w.lossy = true
	r.reconcile(t.Context(), want("192.0.2.10:80+"))
	equal(t, "network; program []; open speaker 65001", w.take())
	w.lossy, w.failing = false, errors.New("no room")
	next := r.reconcile(t.Context(), want("192.0.2.10:80+"))
	if next.IsZero() || !r.troubled() {
		t.Error("a refused state is not tried again")
	}
	snap := r.snapshot()
	if st := snap.servers(nil); len(st) != 1 || st[0].Announced || st[0].Programmed || st[0].State != StateDown || st[0].Reason != "not in the maps: no room" {
		t.Errorf("state %+v", st)
	}
	w.failing = nil
	r.reconcile(t.Context(), want("192.0.2.10:80+"))
	equal(t, "network; network; program [192.0.2.10:80+]; announce [192.0.2.10/32]", w.take())
	if r.troubled() {
		t.Error("still in trouble")
	}
}

// TestLostIsWithdrawn: what stood in the maps and cannot be programmed as it is wanted now is announced
// no longer, with events and the reason, until it can.
func TestLostIsWithdrawn(t *testing.T) {
	w, r, log := newWorld(t)
	r.reconcile(t.Context(), want("192.0.2.10:80+"))
	w.take()
	w.failing = errors.New("update map members: operation not permitted")
	r.reconcile(t.Context(), want("192.0.2.10:80++"))
	equal(t, "network; announce []", w.take())
	conditions := []Condition{{Severity: "error", Reason: ReasonKernel, Object: "Pod", Message: w.failing.Error()}}
	if diff := cmp.Diff(conditions, r.conditions()); diff != "" {
		t.Errorf("conditions (-want +got):\n%s", diff)
	}
	w.failing = nil
	r.reconcile(t.Context(), want("192.0.2.10:80++"))
	equal(t, "network; program [192.0.2.10:80++]; announce [192.0.2.10/32]", w.take())
	equal(t, "programmed 192.0.2.10/32; announced 192.0.2.10/32; unprogrammed 192.0.2.10/32; withdrawn 192.0.2.10/32; programmed 192.0.2.10/32; announced 192.0.2.10/32", kinds(log))
}

// TestRefusedIsLeftOut: what the maps refuse is not announced and has a condition, and the rest is
// served; it is tried again where there may be room.
func TestRefusedIsLeftOut(t *testing.T) {
	w, r, log := newWorld(t)
	d := want("192.0.2.10:80+", "192.0.2.11:80+")
	d.State.VirtualServers[0].Name = "apps/odd"
	for _, full := range []bool{false, true} {
		w.refused = &dataplane.Refusal{Kind: dataplane.KindVirtualServer, Name: "apps/odd", Protocol: dataplane.TCP, Full: full, Err: errors.New("virtual server tcp 192.0.2.10:80 (apps/odd): no good")}
		next := r.reconcile(t.Context(), d)
		if next.IsZero() == full || r.troubled() {
			t.Errorf("full %t: tried again at %v, in trouble %t", full, next, r.troubled())
		}
		wantConditions := []Condition{{Severity: "error", Reason: ReasonRefused, Object: "F5SPKIngressTCP apps/odd", Message: w.refused.Error()}}
		if diff := cmp.Diff(wantConditions, r.conditions()); diff != "" {
			t.Errorf("conditions (-want +got):\n%s", diff)
		}
	}
	equal(t, "network; program [192.0.2.11:80+]; open speaker 65001; announce [192.0.2.11/32]; network; program [192.0.2.11:80+]", w.take())
	w.refused = nil
	r.reconcile(t.Context(), d)
	equal(t, "network; program [192.0.2.10:80+ 192.0.2.11:80+]; announce [192.0.2.10/32 192.0.2.11/32]", w.take())
	equal(t, "programmed 192.0.2.11/32; announced 192.0.2.11/32; programmed 192.0.2.10/32; announced 192.0.2.10/32", kinds(log))
	if c := r.conditions(); len(c) != 0 {
		t.Errorf("conditions stay: %+v", c)
	}
}

func TestSpeakerReplaced(t *testing.T) {
	w, r, log := newWorld(t)
	r.killed = w.now.Add(-time.Hour)
	r.reconcile(t.Context(), want("192.0.2.10:80+"))
	w.take()
	d := want("192.0.2.10:80+")
	d.Speaker = &bgp.SpeakerConfig{ASN: 65002}
	r.reconcile(t.Context(), d)
	equal(t, "announce []; close speaker; network; program [192.0.2.10:80+]; open speaker 65002; announce [192.0.2.10/32]", w.take())
	if !w.ended.Equal(w.now) {
		t.Errorf("the new speaker is told that the old one ended at %s, want %s", w.ended, w.now)
	}
	if !w.killed.Equal(r.killed) {
		t.Errorf("the new speaker is told that a process was killed at %s, want %s", w.killed, r.killed)
	}
	d.Speaker, d.Announce = nil, nil
	r.reconcile(t.Context(), d)
	equal(t, "announce []; close speaker; network; program [192.0.2.10:80+]", w.take())
	equal(t, "programmed 192.0.2.10/32; announced 192.0.2.10/32; withdrawn 192.0.2.10/32; announced 192.0.2.10/32; withdrawn 192.0.2.10/32", kinds(log))
}
