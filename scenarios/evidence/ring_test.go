package evidence

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/traffic"
)

// ringOf opens a ring over the namespaces that routed makes.
func ringOf(t testing.TB, bytes int, netns ...string) *Ring {
	t.Helper()
	mark := fmt.Sprint("evidence ", os.Getpid())
	for _, ns := range netns {
		roottest.Run(t, "ip -n "+ns+" link set lo alias "+strings.ReplaceAll(mark, " ", "-"))
	}
	r, err := Open(RingOptions{Prefix: fmt.Sprintf("evidence-%d-", os.Getpid()), Mark: strings.ReplaceAll(mark, " ", "-"), Bytes: bytes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return r
}

// cut is the window from an instant until now.
func cut(t *testing.T, r *Ring, from int64) *Trace {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	trace, err := r.Cut(ctx, from, ctl.Now())
	if err != nil {
		t.Fatal(err)
	}
	return trace
}

// echo sends a marker through the router and returns it.
func echo(t *testing.T, netns, marker string) {
	t.Helper()
	conn, err := traffic.Dialer{Netns: netns}.TCP(t.Context(), netip.AddrPort{}, netip.MustParseAddrPort("10.1.2.2:8080"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Echo([]byte(marker)); err != nil {
		t.Fatal(err)
	}
}

// TestRingCutsAWindow: the ring sees what a capture sees, and only what is of the window.
func TestRingCutsAWindow(t *testing.T) {
	cns, rns, sns := routed(t)
	server := serve(t, sns)
	defer server.Close()
	r := ringOf(t, 0, cns, rns, sns)
	echo(t, cns, "too-early")
	from := ctl.Now()
	echo(t, cns, "in-time")
	trace := cut(t, r, from)
	echo(t, cns, "too-late")

	if trace.Lost != 0 || len(trace.Losses) != 0 {
		t.Errorf("lost %d: %v", trace.Lost, trace.Losses)
	}
	want := []string{"c/eth0 out ttl 64", "r/left in ttl 64", "r/right out ttl 63", "s/eth0 in ttl 63",
		"s/eth0 out ttl 64", "r/right in ttl 64", "r/left out ttl 63", "c/eth0 in ttl 63"}
	var got []string
	for _, p := range trace.Path(Carrying([]byte("in-time"))) {
		got = append(got, fmt.Sprintf("%s %s ttl %d", p.Point, p.way(), p.TTL))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("path (-want +got):\n%s", diff)
	}
	for _, marker := range []string{"too-early", "too-late"} {
		if n := len(trace.Select(Carrying([]byte(marker)))); n > 0 {
			t.Errorf("%d packets of %q in the window", n, marker)
		}
	}
	for _, p := range trace.Packets {
		if p.Checksum() == ChecksumWrong || p.Checksum() == ChecksumIP || p.Checksum() == ChecksumPseudo {
			t.Errorf("%s: %s", p, p.Checksum())
		}
	}
}

// TestRingKeepsTheNewest: what falls off is said, and what is left is the newest, without a hole.
func TestRingKeepsTheNewest(t *testing.T) {
	cns, rns, sns := routed(t)
	server := serve(t, sns)
	defer server.Close()
	r := ringOf(t, 64<<10, cns, rns, sns)
	from := ctl.Now()
	for i := range 200 {
		echo(t, cns, fmt.Sprintf("number-%03d.", i))
	}
	trace := cut(t, r, from)
	at := func(i int) int { return len(trace.Select(Carrying(fmt.Appendf(nil, "number-%03d.", i)))) }
	if at(0) != 0 || at(199) != 8 {
		t.Errorf("the first marker is at %d hops, the last at %d; want 0 and 8", at(0), at(199))
	}
	fell := slices.DeleteFunc(slices.Clone(trace.Losses), func(l Loss) bool { return l.Why != "fell off the ring" })
	if len(fell) != 4 || trace.Lost == 0 {
		t.Fatalf("losses %v, want one of each of 4 interfaces", trace.Losses)
	}
	for _, l := range fell {
		if i := slices.IndexFunc(trace.Packets, func(p Packet) bool { return p.Point == l.Point }); i < 0 || trace.Packets[i].Mono <= l.Before || l.Before <= from {
			t.Errorf("%v, and the oldest packet is %d", l, i)
		}
	}
	newest := trace.Packets[len(trace.Packets)-1].Mono
	if late := cut(t, r, newest); late.Lost != 0 || len(late.Losses) != 0 {
		t.Errorf("a window after what fell off lacks %v", late.Losses)
	}
}

// TestRingFollowsInterfaces: one that comes gets its ring, one that goes leaves what it saw, and its
// namespace is not held.
func TestRingFollowsInterfaces(t *testing.T) {
	cns, rns, sns := routed(t)
	server := serve(t, sns)
	defer server.Close()
	r := ringOf(t, 0, cns, rns, sns)
	from := ctl.Now()
	echo(t, cns, "before")

	roottest.Run(t, fmt.Sprintf("ip -n %s link add late type veth peer name later", rns))
	await(t, "a ring on r/later", func() bool {
		return slices.ContainsFunc(r.Points(), func(p Point) bool { return p.String() == "r/later" })
	})
	roottest.Run(t, fmt.Sprintf("ip -n %s link set late up", rns))
	roottest.Run(t, fmt.Sprintf("ip -n %s link set later up", rns))
	roottest.Run(t, fmt.Sprintf("ip -n %s link del right", rns))
	await(t, "no ring on r/right", func() bool {
		return !slices.ContainsFunc(r.Points(), func(p Point) bool { return p.String() == "r/right" || p.String() == "s/eth0" })
	})
	if n := len(cut(t, r, from).Select(Carrying([]byte("before")))); n != 8 {
		t.Errorf("a packet was seen at %d hops, want 8 although two interfaces are gone", n)
	}
	await(t, "packet at the interface that came late", func() bool { // IPv6 sends some, in its own time
		return len(cut(t, r, from).Select(func(p Packet) bool { return p.Point.Interface == "later" && !p.Out })) > 0
	})
}

func await(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s", what)
		}
	}
}
