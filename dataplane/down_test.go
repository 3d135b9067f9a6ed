package dataplane

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spklab/spklab/dataplane/bpf"
)

// TestDownAction: what becomes of a flow when its member is removed.
func TestDownAction(t *testing.T) {
	const client, vip, old, other = "203.0.113.10:40001", "192.0.2.10:80", "10.131.1.100:8080", "10.131.1.102:8080"
	tests := []struct {
		proto  Protocol
		action DownAction
		to     string // member that gets the client's next packet, "" for none
		back   bool   // whether the removed member's next packet passes or is answered
		count  string // what counts it
		kept   bool   // whether the member keeps its place
	}{
		{TCP, DownNone, old, true, "flows_validated", true},
		{TCP, DownDrop, "", false, "drop_member_down", true},
		{TCP, DownReset, "", true, "resets_sent", true},
		{TCP, DownReselect, other, true, "flows_reselected", true},
		{UDP, DownNone, other, false, "flows_started", false},
		{UDP, DownDrop, "", false, "drop_member_down", true},
		{UDP, DownReset, "", true, "resets_sent", true},
		{UDP, DownReselect, other, true, "flows_reselected", true},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s %s", tt.proto, tt.action), func(t *testing.T) {
			s := State{SelfIPs: labSelfIPs(), VirtualServers: []VirtualServer{labServer("web", tt.proto, vip, SNATNone, old)}}
			s.VirtualServers[0].DownAction = tt.action
			r := newRig(t, s)
			r.noSums = true
			flags := func(f string) string {
				if tt.proto == UDP {
					return ""
				}
				return f
			}
			r.forwarded(t, "first packet", bpf.External, fromClient(tt.proto, client, vip, flags("S")))
			r.forwarded(t, "its answer", bpf.Internal, fromPod(tt.proto, old, client, flags("SA")))
			r.forwarded(t, "established", bpf.External, fromClient(tt.proto, client, vip, flags("A")))
			s.VirtualServers[0].Members[0].Addr = ap(other)
			applied(t, r.d, s)
			stats, err := r.d.MemberStats()
			must(t, err)
			if kept := len(stats[0].Members) == 2; kept != tt.kept {
				t.Errorf("members %+v", stats[0].Members)
			}
			if v, _ := r.from(t, bpf.Internal, fromPod(tt.proto, old, client, flags("A")).build(t)); (v == verdictRedirect) != tt.back {
				t.Errorf("the removed member's packet: verdict %d", int32(v))
			}
			before := r.counted(t)
			v, frame := r.from(t, bpf.External, fromClient(tt.proto, client, vip, flags("A")).build(t))
			to := v == verdictRedirect && strings.Contains(show(frame), "> "+tt.to+" ")
			if to != (tt.to != "") {
				t.Errorf("the client's packet: verdict %d, %s", int32(v), show(frame))
			}
			if got := grown(before, r.counted(t)); tt.count != "" && got[tt.count] != 1 {
				t.Errorf("counted %v, want %s", got, tt.count)
			}
		})
	}
}

// TestRemovedFlowsAge: flows of a removed member that pass nothing more are forgotten, and the
// member with them, although their packets still come.
func TestRemovedFlowsAge(t *testing.T) {
	s := State{SelfIPs: labSelfIPs(), VirtualServers: []VirtualServer{labServer("web", TCP, "192.0.2.10:80", SNATNone, "10.131.1.100:8080")}}
	s.VirtualServers[0].DownAction, s.VirtualServers[0].IdleTimeout = DownDrop, 20*time.Second
	r := newRig(t, s)
	for _, flags := range []string{"S", "A"} {
		r.forwarded(t, flags, bpf.External, fromClient(TCP, "203.0.113.10:40001", "192.0.2.10:80", flags))
	}
	s.VirtualServers[0].Members = nil
	applied(t, r.d, s)
	now, err := nowTicks()
	must(t, err)
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{10 * time.Second, 1}, {25 * time.Second, 0}} {
		_, err = r.d.collect(now + ticksOf(step.after))
		must(t, err)
		if len(r.d.removed) != step.want {
			t.Errorf("after %s: %d removed members, want %d", step.after, len(r.d.removed), step.want)
		}
	}
}

// TestSwapUnderLoad: while packets keep coming, the member is swapped again and again. Every new
// flow finds a member, and once Apply has returned nothing goes to the one that was removed.
func TestSwapUnderLoad(t *testing.T) {
	const swaps = 40
	members := []string{"10.131.1.100", "10.131.1.102"}
	state := func(i int) State {
		s := State{SelfIPs: labSelfIPs()}
		for _, p := range []Protocol{TCP, UDP} {
			vs := labServer("web", p, "192.0.2.10:80", SNATNone, members[i%2]+":8080")
			vs.DownAction = []DownAction{DownReselect, DownDrop, DownNone}[i%3]
			if p == TCP {
				vs.DownAction = DownReselect
			}
			s.VirtualServers = append(s.VirtualServers, vs)
		}
		return s
	}
	r := newRig(t, state(0))
	r.noSums = true
	var phase, packets atomic.Int64 // phase is even between swaps: 2 a swap
	var g errgroup.Group
	for _, p := range []Protocol{TCP, UDP} {
		g.Go(func() error {
			for i := 0; ; i++ {
				before := phase.Load()
				if before == 2*swaps {
					return nil
				}
				pkt := fromClient(p, fmt.Sprintf("203.0.113.%d:1024", 1+i/3%200), "192.0.2.10:80", "")
				if p == TCP {
					pkt.flags = []string{"S", "A", "A"}[i%3]
				}
				verdict, frame := r.from(t, bpf.External, pkt.build(t))
				packets.Add(1)
				if verdict != verdictRedirect && p == TCP {
					return fmt.Errorf("%s of %s: verdict %d", pkt.flags, pkt.src, int32(verdict))
				}
				removed := members[(before/2+1)%2]
				if before%2 == 0 && phase.Load() == before && strings.Contains(show(frame), "> "+removed+":8080") {
					return fmt.Errorf("after swap %d: %s", before/2, show(frame))
				}
			}
		})
	}
	for i := range swaps {
		phase.Add(1)
		_, err := r.d.Apply(state(i + 1))
		phase.Add(1)
		must(t, err)
	}
	must(t, g.Wait())
	t.Logf("%d packets", packets.Load())
}
