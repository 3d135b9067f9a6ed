package dataplane

import (
	"fmt"
	"testing"
	"time"

	"github.com/spklab/spklab/dataplane/bpf"
	"github.com/spklab/spklab/roottest"
)

// TestStateOf lists what two directions may have seen.
func TestStateOf(t *testing.T) {
	const seen, fin, rst = bpf.StateSeen, bpf.StateFIN, bpf.StateRST
	tests := []struct {
		name             string
		forward, reverse bpf.CtState
		want             ConnState
	}{
		{"SYN", 0, 0, Opening},
		{"one way", seen, 0, Opening},
		{"SYN and its answer", 0, seen, Opening},
		{"both ways", seen, seen, Established},
		{"client closes", seen | fin, seen, Closing},
		{"server closes", seen, seen | fin, Closing},
		{"both close", seen | fin, seen | fin, Closed},
		{"client resets", seen | rst, seen, Closed},
		{"refused", 0, seen | rst, Closed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := stateOf(tt.forward, tt.reverse); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestTicks(t *testing.T) {
	if got := ticksOf(1 << 62); got != 1<<31-1 {
		t.Errorf("a hundred years are %d ticks", got)
	}
	if age(5, 0xfffffffe) != 7 || age(5, 6) != 0 || laterTick(0xfffffffe, 2) != 2 {
		t.Error("the clock does not wrap")
	}
}

// TestCollect moves the clock instead of waiting: what is idle for its state's time goes, with
// both its entries, and nothing else does.
func TestCollect(t *testing.T) {
	s := labState()
	s.VirtualServers[2].IdleTimeout = 1000 * time.Second // web-nosnat over IPv4
	s.VirtualServers[4].IdleTimeout = 5 * time.Second    // echo over IPv4
	const member4, member6 = "10.131.1.100:8080", "[fd01:0:0:1::100]:8080"
	tests := []struct {
		name  string
		proto Protocol
		src   string
		dst   string
		host  string   // where the answers come from
		flags []string // of client and server in turn
		want  time.Duration
	}{
		{"opening", TCP, "203.0.113.10:1001", "192.0.2.11:80", member4, []string{"S"}, openingTimeout},
		{"established", TCP, "203.0.113.10:1002", "192.0.2.11:80", member4, []string{"S", "SA", "A"}, 1000 * time.Second},
		{"established with the default", TCP, "[2001:db8:113::10]:1002", "[2001:db8:2::11]:80", member6, []string{"S", "SA", "A"}, DefaultIdleTCP},
		{"closing", TCP, "203.0.113.10:1003", "192.0.2.11:80", member4, []string{"S", "SA", "FA"}, closingTimeout},
		{"closed", TCP, "203.0.113.10:1004", "192.0.2.11:80", member4, []string{"S", "SA", "FA", "FA"}, closedTimeout},
		{"refused", TCP, "203.0.113.10:1005", "192.0.2.11:80", member4, []string{"S", "RA"}, openingTimeout},
		{"reset", TCP, "203.0.113.10:1005", "192.0.2.11:80", member4, []string{"S", "SA", "A", "RA"}, closedTimeout},
		{"UDP one way", UDP, "203.0.113.10:1006", "192.0.2.13:5300", "10.131.1.100:5300", []string{""}, openingTimeout},
		{"UDP both ways", UDP, "203.0.113.10:1007", "192.0.2.13:5300", "10.131.1.100:5300", []string{"", "", ""}, DefaultIdleUDP},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, s)
			for i, flags := range tt.flags {
				side, p := bpf.External, fromClient(tt.proto, tt.src, tt.dst, flags)
				if i%2 == 1 {
					side, p = bpf.Internal, fromPod(tt.proto, tt.host, tt.src, flags)
				}
				if v, _ := r.from(t, side, p.build(t)); v != verdictRedirect {
					t.Fatalf("packet %d: verdict %d, %v", i, v, r.counted(t))
				}
			}
			now, err := nowTicks()
			must(t, err)
			for _, step := range []struct {
				after time.Duration
				want  int
			}{{tt.want - time.Second, 0}, {tt.want + 2*time.Second, 1}, {2 * tt.want, 0}} {
				n, err := r.d.collect(now + ticksOf(step.after))
				must(t, err)
				if n != step.want {
					t.Errorf("after %s: %d connections forgotten, want %d", step.after, n, step.want)
				}
			}
			if n := r.entries(t); n != 0 {
				t.Errorf("%d entries left", n)
			}
		})
	}
}

// entries counts conntrack entries of both families.
func (r *rig) entries(t testing.TB) int {
	t.Helper()
	four, err := r.d.table4().read()
	must(t, err)
	six, err := r.d.table6().read()
	must(t, err)
	return len(four) + len(six)
}

// TestCollectOrphan: half a pair goes once it is quiet.
func TestCollectOrphan(t *testing.T) {
	r := newRig(t, labState())
	r.from(t, bpf.External, fromClient(TCP, "203.0.113.10:1001", "192.0.2.11:80", "S").build(t))
	r.from(t, bpf.External, fromClient(TCP, "203.0.113.10:1001", "192.0.2.11:80", "A").build(t))
	four, err := readAll[bpf.Key4, bpf.Ct4](r.d.objs.SpkCt4)
	must(t, err)
	for k, v := range four {
		if v.Ct.Flags&bpf.CtForward != 0 {
			must(t, r.d.objs.SpkCt4.Delete(k))
		}
	}
	now, err := nowTicks()
	must(t, err)
	_, err = r.d.collect(now + ticksOf(2*openingTimeout))
	must(t, err)
	if n := r.entries(t); n != 0 {
		t.Errorf("%d entries left", n)
	}
}

// TestSYNOnAFlow: a new SYN replaces a connection that is over, and only that.
func TestSYNOnAFlow(t *testing.T) {
	tests := []struct {
		name     string
		flags    []string
		replaced uint64
	}{
		{"repeated SYN", []string{"S"}, 0},
		{"established", []string{"S", "SA", "A"}, 0},
		{"server closed", []string{"S", "SA", "A", "FA"}, 0},
		{"client closed", []string{"S", "SA", "FA"}, 1},
		{"server reset", []string{"S", "RA"}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, labState())
			const src, dst, member = "203.0.113.10:1001", "192.0.2.11:80", "10.131.1.100:8080"
			for i, flags := range append(tt.flags, "S") {
				if i%2 == 1 && i < len(tt.flags) {
					r.from(t, bpf.Internal, fromPod(TCP, member, src, flags).build(t))
				} else {
					r.from(t, bpf.External, fromClient(TCP, src, dst, flags).build(t))
				}
			}
			c := r.counted(t)
			if c["flows_replaced"] != tt.replaced || c["flows_started"] != 1+tt.replaced {
				t.Errorf("%v", c)
			}
			if n := r.entries(t); n != 2 {
				t.Errorf("%d entries", n)
			}
		})
	}
}

// TestTableFull: when there is no room, new connections are refused and counted, and those that
// exist go on.
func TestTableFull(t *testing.T) {
	r := newRig(t, labState()) // 1024 connections
	r.noSums = true
	syn := func(i int) packet {
		return fromClient(TCP, "203.0.113.10:"+itoa(1000+i), "192.0.2.11:80", "S")
	}
	for i := range 1025 {
		p := syn(i)
		r.from(t, bpf.External, p.build(t))
		p.flags = "A"
		r.from(t, bpf.External, p.build(t))
	}
	if v, _ := r.from(t, bpf.External, fromClient(TCP, "203.0.113.10:1000", "192.0.2.11:80", "A").build(t)); v != verdictRedirect {
		t.Errorf("first flow: verdict %d", v)
	}
	c := r.counted(t)
	if c["drop_table_full"] != 1 || c["flows_established"] != 1024 {
		t.Errorf("%v", c)
	}
	stats, err := r.d.MemberStats()
	must(t, err)
	for _, s := range stats {
		if s.Destination == ap("192.0.2.11:80") && s.Refused != 1 {
			t.Errorf("%+v", s)
		}
	}
}

// TestPortsExhausted: with four ports, four clients are served and the fifth is refused.
func TestPortsExhausted(t *testing.T) {
	r := newRig(t, labState())
	r.d.mu.Lock()
	err := r.d.updateConfigLocked(func(c *bpf.Config) { c.PortMin, c.PortMax = 2000, 2003 })
	r.d.mu.Unlock()
	must(t, err)
	ports := map[uint16]bool{}
	for i := range 5 {
		v, frame := r.from(t, bpf.External, fromClient(TCP, "203.0.113.10:"+itoa(1000+i), "192.0.2.10:80", "S").build(t))
		if i < 4 { // and established, for one that has only begun holds no port against others
			ports[sourcePort(t, frame)] = true
			r.from(t, bpf.External, fromClient(TCP, "203.0.113.10:"+itoa(1000+i), "192.0.2.10:80", "A").build(t))
		} else if v != verdictDrop {
			t.Errorf("fifth: verdict %d", v)
		}
	}
	if len(ports) != 4 || !ports[2000] || !ports[2003] || r.counted(t)["drop_ports_exhausted"] != 1 {
		t.Errorf("ports %v, counters %v", ports, r.counted(t))
	}
}

// TestTimeouts is the table of timeouts.go, and what a virtual server's own idle timeout makes of
// it.
func TestTimeouts(t *testing.T) {
	limits := timeouts{map[uint32]uint32{2: ticksOf(20 * time.Second), 3: ticksOf(time.Hour)}}
	tests := []struct {
		protocol Protocol
		state    ConnState
		want     [4]time.Duration // of owners 0 to 3
	}{
		{TCP, Opening, [4]time.Duration{30, 30, 20, 30}},
		{TCP, Established, [4]time.Duration{300, 300, 20, 3600}},
		{TCP, Closing, [4]time.Duration{240, 240, 20, 240}},
		{TCP, Closed, [4]time.Duration{10, 10, 10, 10}},
		{SCTP, Established, [4]time.Duration{300, 300, 20, 3600}},
		{UDP, Opening, [4]time.Duration{30, 30, 20, 30}},
		{UDP, Established, [4]time.Duration{60, 60, 20, 3600}},
		{ICMP, Opening, [4]time.Duration{60, 60, 20, 60}},
		{ICMPv6, Established, [4]time.Duration{60, 60, 20, 3600}},
	}
	for _, tt := range tests {
		for owner, want := range tt.want {
			if got := limits.of(uint32(owner), tt.protocol, tt.state); got != ticksOf(want*time.Second)+touchTicks {
				t.Errorf("%s %s of owner %d: %d ticks, want %s", tt.protocol, tt.state, owner, got, want*time.Second)
			}
		}
	}
}

// TestLeastTimeout: of every connection one entry at least is looked at when its time is up.
func TestLeastTimeout(t *testing.T) {
	limits := timeouts{}
	for forward := range bpf.StateSeen | bpf.StateFIN | bpf.StateRST {
		for reverse := range bpf.StateSeen | bpf.StateFIN | bpf.StateRST {
			for _, p := range []Protocol{TCP, UDP, ICMP} {
				limit := limits.of(1, p, stateOf(forward, reverse))
				least := min(limits.least(1, p, forward), limits.least(1, p, reverse))
				if least > limit || least < limits.shortest() {
					t.Errorf("%s %b %b: expires at %d, looked at from %d", p, forward, reverse, limit, least)
				}
			}
		}
	}
}

// TestCollectCounts: what is forgotten is counted as ended, once.
func TestCollectCounts(t *testing.T) {
	r := newRig(t, labState())
	fill4(t, r, 10000)
	now, err := nowTicks()
	must(t, err)
	n, err := r.d.collect(now + ticksOf(2*DefaultIdleTCP))
	must(t, err)
	if got := r.d.loads[1].Ended; n != 1000 || got != 1000 || r.entries(t) != 0 {
		t.Errorf("%d forgotten, %d counted, %d entries left", n, got, r.entries(t))
	}
}

// TestCounted: what a pass has counted is what the tables hold after it.
func TestCounted(t *testing.T) {
	r := newRig(t, labState())
	for i, flags := range []string{"S", "S", "S"} {
		r.from(t, bpf.External, fromClient(TCP, fmt.Sprintf("203.0.113.%d:40001", 10+i), "192.0.2.10:80", flags).build(t))
	}
	r.from(t, bpf.External, fromClient(TCP, "[2001:db8:113::10]:40001", "[2001:db8:2::10]:80", "S").build(t))
	fill4(t, r, 1000)
	now, err := nowTicks()
	must(t, err)
	for _, step := range []struct {
		name       string
		later      time.Duration
		half, full int
	}{
		{"all are young", 0, 3, 1000},
		{"half-open ones are gone", 2 * openingTimeout, 0, 1000},
		{"all are gone", 2 * DefaultIdleTCP, 0, 0},
	} {
		t.Run(step.name, func(t *testing.T) {
			_, err := r.d.collect(now + ticksOf(step.later))
			must(t, err)
			v4, v6, err := r.d.Counted()
			must(t, err)
			table4, table6, err := r.d.Tables()
			must(t, err)
			if v4 != table4 || v6 != table6 || v4.HalfOpen != step.half || v4.Connections != step.full {
				t.Errorf("counted %+v, %+v; the tables hold %+v, %+v", v4, v6, table4, table6)
			}
		})
	}
	sizes, err := r.d.MapSizes()
	must(t, err)
	for _, m := range sizes {
		if m.Entries != 0 || m.MaxEntries == 0 {
			t.Errorf("a map that is not read: %+v", m)
		}
	}
}

// fill4 writes up to n established flows of owner 1 to the IPv4 table, as many as fit.
func fill4(t testing.TB, r *rig, n int) {
	t.Helper()
	now, err := nowTicks()
	must(t, err)
	n = min(n, int(r.d.objs.SpkCt4.MaxEntries())/2/1000*1000)
	keys, values := make([]bpf.Key4, 2000), make([]bpf.Ct4, 2000)
	for first := 0; first < n; first += 1000 {
		for i := range 1000 {
			client, port := 0x0a000000+uint32(first+i), uint16(1024+i)
			k := bpf.Key4{Saddr: client, Daddr: 0xc0000201, Sport: port, Dport: 80, Proto: 6}
			v := bpf.Ct4{Saddr: client, Daddr: 0x0a830164, Ct: bpf.Ct{
				Seen: now, State: bpf.StateSeen, Flags: bpf.CtForward | bpf.CtPeerInternal, Owner: 1, Sport: port, Dport: 8080,
			}}
			keys[2*i], values[2*i] = k, v
			keys[2*i+1] = bpf.Key4{Saddr: v.Daddr, Daddr: v.Saddr, Sport: 8080, Dport: port, Proto: 6, Side: bpf.Internal}
			values[2*i+1] = bpf.Ct4{Saddr: k.Daddr, Daddr: k.Saddr, Ct: bpf.Ct{
				Seen: now, State: bpf.StateSeen, Owner: 1, Sport: 80, Dport: port,
			}}
		}
		_, err := r.d.objs.SpkCt4.BatchUpdate(keys, values, nil)
		must(t, err)
	}
}

// BenchmarkCollect is a pass over connections that are all established: young ones, and ones
// that have been quiet for longer than any other state allows.
func BenchmarkCollect(b *testing.B) {
	for _, flows := range []int{10_000, 1_000_000} {
		for _, quiet := range []time.Duration{0, 250 * time.Second} {
			b.Run(fmt.Sprintf("%d/%s", flows, quiet), func(b *testing.B) {
				roottest.Need(b)
				d, err := Open(Config{MaxConnections: flows})
				must(b, err)
				b.Cleanup(func() { must(b, d.Remove()) })
				fill4(b, &rig{d: d}, flows)
				now, err := nowTicks()
				must(b, err)
				b.ReportAllocs()
				for b.Loop() {
					n, err := d.collect(now + ticksOf(quiet))
					must(b, err)
					if n != 0 {
						b.Fatalf("%d forgotten", n)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(flows), "ns/flow")
			})
		}
	}
}
