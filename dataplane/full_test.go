package dataplane

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/spklab/spklab/dataplane/bpf"
	"github.com/spklab/spklab/dataplane/internal/frame"
)

// crowd is the packets of connections from many clients to one virtual server.
type crowd struct {
	r      *rig
	family string
	server string
}

// open sends the first packet of the nth connection and then one that proves its sender, and
// answers what became of each.
func (s crowd) open(t *testing.T, n uint32) (first, second outcome) {
	t.Helper()
	first = s.packet(t, n, "S")
	return first, s.packet(t, n, "A")
}

func (s crowd) packet(t *testing.T, n uint32, flags string) outcome {
	t.Helper()
	h := tableHosts(s.family)
	src := clientOf(n >> 14)
	if s.family == "6" {
		b := h["client"].As16()
		b[12], b[13], b[14] = byte(n>>30), byte(n>>22), byte(n>>14)
		src = netip.AddrFrom16(b)
	}
	p := frame.Packet{
		Kind: frame.TCP, Flags: flags, SrcMAC: mac(t, macRouter), DstMAC: mac(t, macExternal),
		Src: netip.AddrPortFrom(src, uint16(1024+n%(1<<14))), Dst: netip.AddrPortFrom(h[s.server], 80),
	}
	b, err := p.Bytes()
	must(t, err)
	return s.r.through(t, bpf.External, b, 0)
}

// forEach runs f at each front end, over each family.
func forEach(t *testing.T, f func(t *testing.T, s crowd)) {
	for _, front := range frontEnds() {
		t.Run(front.name, func(t *testing.T) {
			r := newRigAt(t, tableState(), front)
			for _, family := range []string{"4", "6"} {
				t.Run("ipv"+family, func(t *testing.T) {
					r.reset(t, tableState())
					f(t, crowd{r, family, "nosnat"})
				})
			}
		})
	}
}

// TestConntrackFull: with no room left a new connection is refused and counted, those that exist
// go on, and when one ends the next one has its room.
func TestConntrackFull(t *testing.T) {
	const room = 1024 // of the rig's Config
	forEach(t, func(t *testing.T, s crowd) {
		for n := range uint32(room) {
			if first, second := s.open(t, n); first.verdict != forwarded || second.verdict != forwarded {
				t.Fatalf("connection %d: %s, %s", n, first.verdict, second.verdict)
			}
		}
		before := s.r.counted(t)
		first, _ := s.open(t, room)
		got := grown(before, s.r.counted(t))
		if first.verdict != forwarded || got["drop_table_full"] != 1 || got["flows_established"] != 0 {
			t.Errorf("one too many: %s, counters %v", first.verdict, got)
		}
		if n := s.r.established(t); n != room {
			t.Errorf("%d connections", n)
		}
		for n := range uint32(room) {
			if out := s.packet(t, n, "A"); out.verdict != forwarded {
				t.Fatalf("connection %d: %s", n, out.verdict)
			}
		}
		s.r.checkPairs(t)
		n, err := s.r.d.Flush(func(c Conn) bool { return c.Source.Port() == 1024 }) // the first one
		must(t, err)
		if _, second := s.open(t, room+1); n != 1 || second.verdict != forwarded {
			t.Errorf("after %d have ended: %s, counters %v", n, second.verdict, s.r.counted(t))
		}
	})
}

// TestFlood: first packets from sources that never answer push each other out and nobody else:
// every established connection goes on, and clients that answer in time are served.
func TestFlood(t *testing.T) {
	const live, packets, every = 200, 20000, 100
	forEach(t, func(t *testing.T, s crowd) {
		for n := range uint32(live) {
			s.open(t, n)
		}
		before := s.r.counted(t)
		honest := uint32(0)
		for n := range uint32(packets) {
			if out := s.packet(t, 1<<24+n, "S"); out.verdict != forwarded {
				t.Fatalf("packet %d of the flood: %s, counters %v", n, out.verdict, s.r.counted(t))
			}
			if n%every == 0 {
				if _, second := s.open(t, live+honest); second.verdict != forwarded {
					t.Fatalf("honest connection %d: %s", honest, second.verdict)
				}
				honest++
			}
		}
		if got := grown(before, s.r.counted(t)); got["flows_established"] != uint64(honest) {
			t.Errorf("%d honest connections, counters %v", honest, got)
		}
		for n := range live + honest {
			if out := s.packet(t, n, "A"); out.verdict != forwarded {
				t.Fatalf("connection %d was lost: %s", n, out.verdict)
			}
		}
		if n := s.r.established(t); n != int(live+honest) {
			t.Errorf("%d connections, want %d", n, live+honest)
		}
	})
}

// TestRefusedIsSaid: connections that find no source are counted with their virtual server.
func TestRefusedIsSaid(t *testing.T) {
	s := tableState()
	s.SNATPools[0].PortMin, s.SNATPools[0].PortMax = 20000, 20000 // of two addresses
	r := newRig(t, s)
	for i := range 5 {
		for _, flags := range []string{"S", "A"} {
			r.from(t, bpf.External, fromClient(TCP, "203.0.113.10:"+itoa(1000+i), "192.0.2.12:80", flags).build(t))
		}
	}
	stats, err := r.d.MemberStats()
	must(t, err)
	for _, vs := range stats {
		want := uint64(0)
		if vs.Destination == ap("192.0.2.12:80") && vs.Protocol == TCP {
			want = 3
		}
		if vs.Refused != want {
			t.Errorf("%s %s: %d refused, want %d", vs.Protocol, vs.Destination, vs.Refused, want)
		}
	}
	if c := r.counted(t); c["drop_ports_exhausted"] != 3 || c["flows_started"] != 2 {
		t.Errorf("counters %v", c)
	}
}

// TestReopenKeepsFlows closes the dataplane and opens it again on its pins between the packets
// of connections: every one of them goes on, the half-open ones too.
func TestReopenKeepsFlows(t *testing.T) {
	dir := bpffs(t) + "/spk"
	for _, front := range frontEnds() {
		t.Run(front.name, func(t *testing.T) {
			r := newRigPinned(t, tableState(), front, dir)
			r.tableRoutes(t)
			p := &player{r: r, state: tableState(), hosts: tableHosts("4"), bound: map[string]string{}}
			play := func(script string) {
				t.Helper()
				for _, step := range steps(script) {
					p.step(t, step)
				}
			}
			play(`client> tcp client:1 > web:80 S; pod< tcp inside:$p1 > pod:8080 S
				pod> tcp pod:8080 > inside:$p1 SA; client< tcp web:80 > client:1 SA
				client> tcp client:1 > web:80 A; pod< tcp inside:$p1 > pod:8080 A
				client> tcp client:2 > web:80 S; pod< tcp inside:$p2 > pod:8080 S
				pod> udp pooled:3 > client:53; client< udp @s:$p3 > client:53; conns 1`)
			r.reopen(t)
			play(`conns 1; pod> tcp pod:8080 > inside:$p1 A; client< tcp web:80 > client:1 A
				client> tcp client:1 > web:80 A; pod< tcp inside:$p1 > pod:8080 A
				client> tcp client:2 > web:80 A; pod< tcp inside:$p2 > pod:8080 A; conns 2
				client> udp client:53 > @s:$p3; pod< udp client:53 > pooled:3; conns 3
				client> tcp client:4 > web:80 S; pod< tcp inside:$p4 > pod:8080 S`)
			if changes, err := r.d.Apply(tableState()); err != nil || !changes.Empty() {
				t.Errorf("the state has changed: %+v, %v", changes, err)
			}
			r.checkPairs(t)
		})
	}
}

// TestFloodOfPorts: first packets alone hold no source ports against clients that answer.
func TestFloodOfPorts(t *testing.T) {
	state := tableState()
	state.SNATPools[0].PortMin, state.SNATPools[0].PortMax = 20000, 20063
	const packets, every = 1000, 100
	for _, front := range frontEnds() {
		r := newRigAt(t, state, front)
		for _, family := range []string{"4", "6"} {
			t.Run(front.name+"/ipv"+family, func(t *testing.T) {
				r.reset(t, state)
				s := crowd{r, family, "pool"}
				honest := uint32(0)
				for n := range uint32(packets) {
					if out := s.packet(t, 1<<24+n, "S"); out.verdict != forwarded {
						t.Fatalf("packet %d of the flood: %s, counters %v", n, out.verdict, r.counted(t))
					}
					if n%every == 0 {
						if first, second := s.open(t, honest); first.verdict != forwarded || second.verdict != forwarded {
							t.Fatalf("honest connection %d: %s, %s", honest, first.verdict, second.verdict)
						}
						honest++
					}
				}
				for n := range honest {
					if out := s.packet(t, n, "A"); out.verdict != forwarded {
						t.Errorf("connection %d was lost: %s", n, out.verdict)
					}
				}
				if n := r.established(t); n != int(honest) {
					t.Errorf("%d connections, want %d", n, honest)
				}
			})
		}
	}
}

// TestHalfEvicted: a half-open flow whose way back was pushed out, and whose port then went to
// another client, does not take the other one's answers with it when its sender comes back.
func TestHalfEvicted(t *testing.T) {
	state := tableState()
	state.SNATPools[0].PortMin, state.SNATPools[0].PortMax = 20000, 20000
	state.SNATPools[0].Addrs = []netip.Addr{tableHosts("4")["snat1"], tableHosts("6")["snat1"]}
	for _, front := range frontEnds() {
		r := newRigAt(t, state, front)
		for _, family := range []string{"4", "6"} {
			t.Run(front.name+"/ipv"+family, func(t *testing.T) {
				r.reset(t, state)
				p := &player{r: r, state: state, hosts: tableHosts(family), bound: map[string]string{}}
				play := func(script string) {
					t.Helper()
					for _, step := range steps(script) {
						p.step(t, step)
					}
				}
				play(`client> tcp client:1 > pool:80 S; pod< tcp snat1:20000 > pod:8080 S`)
				must(t, dropReverse(r.d.table4()))
				must(t, dropReverse(r.d.table6()))
				play(`client> tcp client2:2 > pool:80 S; pod< tcp snat1:20000 > pod:8080 S
					client> tcp client:1 > pool:80 A; drop conflict
					pod> tcp pod:8080 > snat1:20000 SA; client< tcp pool:80 > client2:2 SA
					client> tcp client2:2 > pool:80 A; pod< tcp snat1:20000 > pod:8080 A; conns 1
					client> tcp client:1 > pool:80 A; drop no_flow
					pod> tcp pod:8080 > snat1:20000 A; client< tcp pool:80 > client2:2 A`)
				r.checkPairs(t)
			})
		}
	}
}

// dropReverse deletes the ways back of half-open flows, as the table's own eviction may.
func dropReverse[K, V comparable](t table[K, V]) error {
	entries, err := readAll[K, V](t.half)
	for k, v := range entries {
		if t.ct(&v).Flags&bpf.CtForward == 0 {
			err = errors.Join(err, t.half.Delete(k))
		}
	}
	return err
}
