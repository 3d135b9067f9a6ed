package dataplane

import (
	"testing"
	"time"

	"github.com/spklab/spklab/dataplane/bpf"
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
		{"closing", TCP, "203.0.113.10:1003", "192.0.2.11:80", member4, []string{"S", "SA", "FA"}, 1000 * time.Second},
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
	_, err = r.d.collect(now + ticksOf(2*closedTimeout))
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
		if i < 4 {
			ports[sourcePort(t, frame)] = true
		} else if v != verdictDrop {
			t.Errorf("fifth: verdict %d", v)
		}
	}
	if len(ports) != 4 || !ports[2000] || !ports[2003] || r.counted(t)["drop_ports_exhausted"] != 1 {
		t.Errorf("ports %v, counters %v", ports, r.counted(t))
	}
}
