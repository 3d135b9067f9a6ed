package dataplane

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bpf"
)

// TestEvents: drops and the starts and ends of flows come to the log with what they are about.
func TestEvents(t *testing.T) {
	r := newRig(t, labState())
	r.d.log, r.d.flowEvents = ctl.NewLog("tmm"), true
	r.d.mu.Lock()
	err := r.d.updateConfigLocked(func(c *bpf.Config) { c.Flags |= bpf.FlowEvents; c.DropSample = 1 })
	r.d.mu.Unlock()
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.d.follow(ctx) }()
	syn := fromClient(TCP, "203.0.113.10:40001", "192.0.2.11:80", "S")
	ack := fromClient(TCP, "203.0.113.10:40001", "192.0.2.11:80", "A")
	r.forwarded(t, "SYN", bpf.External, syn)
	r.forwarded(t, "ACK", bpf.External, ack)
	r.from(t, bpf.External, fromClient(TCP, "[2001:db8:113::10]:40002", "[2001:db8:2::10]:81", "S").build(t))
	r.from(t, bpf.External, fromClient(UDP, "203.0.113.10:40003", "192.0.2.10:81", "").build(t))
	now, err := nowTicks()
	must(t, err)
	_, err = r.d.collect(now + ticksOf(2*DefaultIdleTCP))
	must(t, err)
	want := []string{
		"flow-started tcp 203.0.113.10:40001 > 192.0.2.11:80: as tcp 203.0.113.10:40001 > 10.131.1.100:8080 for spk-apps/web-nosnat",
		"packet-dropped drop_no_virtual_server: net2, 86 bytes: tcp [2001:db8:113::10]:40002 > [2001:db8:2::10]:81",
		"packet-dropped drop_no_virtual_server: net2, 60 bytes: udp 203.0.113.10:40003 > 192.0.2.10:81",
		"flow-ended tcp 203.0.113.10:40001 > 192.0.2.11:80: idle, for spk-apps/web-nosnat",
	}
	if diff := cmp.Diff(want, awaitEvents(t, r.d.log, len(want)), cmp.Transformer("set", setOf)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("follow: %v", err)
	}
}

func setOf(lines []string) map[string]int {
	set := map[string]int{}
	for _, l := range lines {
		set[l]++
	}
	return set
}

// awaitEvents returns what the log holds once there are n events, or after ten seconds.
func awaitEvents(t *testing.T, log *ctl.Log, n int) []string {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for len(log.Events()) < n && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	var out []string
	for _, e := range log.Events() {
		out = append(out, e.Kind+" "+e.Object+": "+e.Detail)
	}
	return out
}

// TestThrottle: a burst passes, then one a second; nothing that is held back is forgotten.
func TestThrottle(t *testing.T) {
	var th throttle
	now := time.Unix(1000, 0)
	passed := 0
	for range 1000 {
		if _, ok := th.pass(now); ok {
			passed++
		}
	}
	if passed != eventBurst {
		t.Errorf("%d at once", passed)
	}
	held, ok := th.pass(now.Add(eventEvery))
	if !ok || held != 1000-eventBurst {
		t.Errorf("a second later: passes %t, %d held back", ok, held)
	}
	if _, ok = th.pass(now.Add(eventEvery)); ok {
		t.Error("two in a second")
	}
	passed = 0
	for range 1000 {
		if _, ok := th.pass(now.Add(time.Hour)); ok {
			passed++
		}
	}
	if passed != eventBurst {
		t.Errorf("%d at once an hour later", passed)
	}
}

func TestPacketText(t *testing.T) {
	tests := []struct{ name, want string }{
		{"nothing", "no frame"},
		{"ARP", "ethertype 0x0806 from 02:00:00:00:02:01"},
		{"tagged", "vlan 100 udp 203.0.113.10:53 > 192.0.2.10:53"},
		{"cut", "ethertype 0x0800 from 02:00:00:00:02:01"},
		{"no ports", "udp 203.0.113.10 > 192.0.2.10"},
		{"later fragment", "udp 203.0.113.10 > 192.0.2.10, a later fragment"},
		{"echo", "icmp 203.0.113.10 > 192.0.2.10, type 13 code 14"},
	}
	whole := fromClient(UDP, "203.0.113.10:53", "192.0.2.10:53", "").build(t)
	frames := map[string][]byte{
		"nothing": nil,
		"ARP":     append(append([]byte{}, whole[:12]...), 8, 6),
		"tagged":  append(append(append([]byte{}, whole[:12]...), 0x81, 0, 0x20, 100), whole[12:]...),
		"cut":     whole[:33], "no ports": whole[:37],
		"later fragment": alter(whole, 20, 0x20, 1), "echo": alter(whole, 23, 1, whole[24], whole[25], 203, 0, 113, 10, 192, 0, 2, 10, 13, 14),
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := packetText(frames[tt.name]); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// alter is a copy of b with other bytes at an offset.
func alter(b []byte, at int, with ...byte) []byte {
	out := append([]byte{}, b...)
	copy(out[at:], with)
	return out
}

// FuzzPacketText: whatever was captured has a line.
func FuzzPacketText(f *testing.F) {
	f.Add(fromClient(TCP, "203.0.113.10:53", "192.0.2.10:53", "S").build(f))
	f.Add(fromClient(UDP, "[2001:db8:113::10]:53", "[2001:db8:2::10]:53", "").build(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s := packetText(b); s == "" || strings.Contains(s, "\n") {
			t.Errorf("%x: %q", b, s)
		}
	})
}
