package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/traffic"
)

// TestKillOnlyTheProcess kills spkproxy of one TMM with SIGKILL and lets it be started again, over FRR and BIRD, with
// BFD and graceful restart: established flows lose no answer, the router's kernel loses no next hop, and nothing is withdrawn
// on the wire, although BFD goes down with the process. Without graceful restart next hops go, so what is counted can be seen.
func TestKillOnlyTheProcess(t *testing.T) {
	roottest.Need(t)
	for _, tt := range []struct {
		kind     string
		graceful bool
	}{{topo.RouterFRR, true}, {topo.RouterBIRD, true}, {topo.RouterFRR, false}} {
		t.Run(fmt.Sprintf("%s, graceful restart %t", tt.kind, tt.graceful), func(t *testing.T) {
			r := newRestart(t, tt.kind, tt.graceful)
			var flows []*traffic.Conn
			if tt.graceful { // the router moves them otherwise
				flows = r.flows(t)
			}
			r.run(t, flows)
			t.Logf("%d echoes, %d of them lost; the kernel lost %d next hops; %d BGP messages, withdrawals %q", r.echoes, r.lost, len(r.gone), r.messages, r.withdrawn)
			if r.lost > 0 {
				t.Errorf("%d of %d echoes lost", r.lost, r.echoes)
			}
			if flapped := len(r.gone)+len(r.withdrawn) > 0; flapped == tt.graceful {
				t.Errorf("the kernel lost next hops: %v; withdrawn on the wire: %q", r.gone, r.withdrawn)
			}
		})
	}
}

// restart is a lab whose spkproxy is killed.
type restart struct {
	lab    *lab.Lab
	router string

	echoes, lost, messages int
	gone                   []ctl.Event // the router or its kernel lost a next hop to the TMM
	withdrawn              []string    // prefixes withdrawn in UPDATEs at the router
}

const (
	restarted     = "f5-tmm-1"
	restartedHop4 = "198.51.100.16"
	restartedHop6 = "2001:db8:51::16"
)

// newRestart brings the spk topology up with BFD at both ends.
func newRestart(t *testing.T, kind string, graceful bool) *restart {
	t.Helper()
	src, err := lab.Load(os.DevNull, "spk")
	if err != nil {
		t.Fatal(err)
	}
	src.Spec.Name = "e2e-restart"
	src.Spec.Routers[0].Kind = kind
	for i := range src.Spec.Routers[0].Neighbors {
		n := &src.Spec.Routers[0].Neighbors[i]
		n.BFD, n.BFDInterval = true, 1000 // a busy machine is silent for longer than 900 ms
	}
	seconds := 0
	if graceful {
		seconds = 120
	}
	i := slices.IndexFunc(src.Objects, func(o api.Object) bool { return o.Kind == api.KindValues })
	values := bytes.ReplaceAll(src.Objects[i].Raw, []byte("asn: 65000"), []byte("asn: 65000\n              fallover: true"))
	values = bytes.ReplaceAll(values, []byte("          asn: 65001\n"), fmt.Appendf(nil, "          asn: 65001\n          gracefulRestartTime: %d\n", seconds))
	objs, err := api.Split("values.yaml", values)
	if err != nil || bytes.Equal(values, src.Objects[i].Raw) {
		t.Fatalf("%v in:\n%s", err, values)
	}
	src.Objects = append(slices.Delete(src.Objects, i, i+1), objs...)
	host := topo.Host{Run: built.state}
	t.Cleanup(func() {
		mustSpklab(t, "down", src.Spec.Name)
		for _, left := range leftovers(t, src.Spec.Name) {
			t.Errorf("left behind: %s", left)
		}
	})
	l, _, err := lab.Up(t.Context(), src, lab.Options{Host: host, Bin: built.bin})
	if err != nil {
		t.Fatal(err)
	}
	r := &restart{lab: l, router: src.Spec.Routers[0].Name}
	r.await(t, "BFD is up", func(in *lab.Inspection) bool { return r.watched(in) })
	return r
}

// watched says whether all sessions of the router are up with BFD.
func (r *restart) watched(in *lab.Inspection) bool {
	for _, router := range in.Routers {
		if len(router.Peers) < 4 || slices.ContainsFunc(router.Peers, func(p bgp.Peer) bool { return !p.Established() || p.BFD != "up" }) {
			return false
		}
	}
	return len(in.Routers) == 1
}

// lostBFD says whether no session with the TMM is watched by a BFD session that is up.
func (r *restart) lostBFD(st bgp.RouterState) bool {
	return !slices.ContainsFunc(st.Peers, func(p bgp.Peer) bool {
		return p.BFD == "up" && (p.Addr.String() == restartedHop4 || p.Addr.String() == restartedHop6)
	})
}

// await polls the lab.
func (r *restart) await(t *testing.T, what string, is func(*lab.Inspection) bool) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		in, err := r.lab.Inspect(t.Context())
		if err == nil && is(in) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 40 s: %+v, %v", what, in, err)
		}
	}
}

// run kills the process under flows and has it started again.
func (r *restart) run(t *testing.T, flows []*traffic.Conn) {
	t.Helper()
	capture, err := evidence.Start([]evidence.Point{{Node: r.router, Netns: r.lab.Runtime().Netns(r.router), Interface: "eth0"}}, 1500)
	if err != nil {
		t.Fatal(err)
	}
	since := ctl.Now()
	if err := r.lab.Runtime().Kill(t.Context(), restarted); err != nil {
		t.Fatal(err)
	}
	r.talk(flows)
	r.await(t, "the router's BFD sessions are down", func(in *lab.Inspection) bool {
		r.talk(flows)
		return len(in.Routers) == 1 && r.lostBFD(in.Routers[0])
	})
	if _, err := r.lab.Apply(t.Context(), nil); err != nil { // the process is started again
		t.Fatal(err)
	}
	r.talk(flows)
	r.await(t, "sessions and BFD are up again", func(in *lab.Inspection) bool {
		r.talk(flows)
		missing, err := r.lab.Missing(t.Context())
		return r.watched(in) && err == nil && len(missing) == 0
	})
	trace, err := capture.Stop()
	if err != nil {
		t.Fatal(err)
	}
	r.read(trace)
	r.listen(t, since)
}

// flows are connections, over both families, and all of them known to the two TMMs.
func (r *restart) flows(t *testing.T) []*traffic.Conn {
	t.Helper()
	var out []*traffic.Conn
	for _, vip := range []string{"192.0.2.10:80", "[2001:db8:2::10]:80", "192.0.2.12:5300", "[2001:db8:2::12]:5300"} {
		d := traffic.Dialer{Netns: r.lab.Runtime().Netns("client"), Timeout: 20 * time.Second}
		dial := d.TCP
		if strings.HasSuffix(vip, ":5300") {
			dial = d.UDP
		}
		for range 12 {
			c, err := dial(t.Context(), netip.AddrPort{}, netip.MustParseAddrPort(vip))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() }) // the lab goes with it
			out = append(out, c)
		}
	}
	r.talk(out)
	return out
}

// talk has each flow echo once. Over UDP a lost datagram is a lost answer.
func (r *restart) talk(flows []*traffic.Conn) {
	for _, c := range flows {
		r.echoes++
		if err := c.Echo(binary.BigEndian.AppendUint64(nil, uint64(r.echoes))); err != nil {
			r.lost++
		}
	}
}

// read counts the messages of BGP that were captured at the router and what they withdraw.
func (r *restart) read(trace *evidence.Trace) {
	for _, p := range trace.Packets {
		for _, m := range p.BGP() {
			r.messages++
			for prefix := range strings.FieldsSeq(m.Detail) {
				if m.Kind == "update" && strings.HasPrefix(prefix, "-") {
					r.withdrawn = append(r.withdrawn, prefix)
				}
			}
		}
	}
}

// listen asks the router which next hops its kernel lost, or it says that it lost: a route without one of the
// TMM's, or gone.
func (r *restart) listen(t *testing.T, since int64) {
	t.Helper()
	events, err := r.lab.EventsSince(context.WithoutCancel(t.Context()), since)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Source != r.router {
			continue
		}
		hops := strings.Split(e.Detail, ",")
		left := (e.Kind == bgp.EventFIBInstalled || e.Kind == bgp.EventRouteLearned) && !slices.Contains(hops, restartedHop4) && !slices.Contains(hops, restartedHop6)
		if left || e.Kind == bgp.EventFIBRemoved || e.Kind == bgp.EventRouteWithdrawn {
			r.gone = append(r.gone, e)
		}
	}
}
