package dataplane_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/internal/frame"
)

// script reads steps from bytes: any bytes are a script.
type script struct {
	bytes []byte
	pair  *pair
	six   bool

	last         frame.Packet // that left
	lastInternal bool
	first        frame.Packet // that came in before it
	fromInternal bool
	left         bool
}

func (s *script) done() bool { return len(s.bytes) == 0 }

func (s *script) byte() byte {
	if s.done() {
		return 0
	}
	b := s.bytes[0]
	s.bytes = s.bytes[1:]
	return b
}

func pick[T any](s *script, of []T) T { return of[int(s.byte())%len(of)] }

// step does one thing.
func (s *script) step(t testing.TB) {
	t.Helper()
	switch op := s.byte(); op % 16 {
	case 0, 1, 2, 3, 4:
		s.first, s.fromInternal = s.packet(), op&16 != 0
		s.send(t, s.first, s.fromInternal)
	case 5, 6, 7, 8: // the answer
		if s.left {
			s.send(t, s.vary(answer(s.last)), s.lastInternal)
		}
	case 9, 10, 11: // another one from where the last exchange began
		if s.first.Src.IsValid() {
			s.send(t, s.vary(s.first), s.fromInternal)
		}
	case 12:
		s.pair.age(t, pick(s, []time.Duration{5, 15, 35, 65, 200, 310})*time.Second)
	case 13:
		s.pair.flush(t)
	case 14:
		s.change(t)
	case 15:
		s.six = !s.six
	}
}

// send sends a packet and remembers what left for its answer.
func (s *script) send(t testing.TB, p frame.Packet, internal bool) {
	t.Helper()
	if _, err := p.Bytes(); err != nil {
		return
	}
	out, left, leftInternal := s.pair.send(t, internal, p)
	if left {
		s.last, s.left, s.lastInternal = out, true, leftInternal
	}
}

// answer is what the receiver of a packet sends back.
func answer(p frame.Packet) frame.Packet {
	p.Src, p.Dst = p.Dst, p.Src
	p.TTL = frame.DefaultTTL
	switch p.Kind {
	case frame.Echo:
		p.Kind = frame.EchoReply
	case frame.EchoReply:
		p.Kind = frame.Echo
	}
	return p
}

// vary changes what may change from packet to packet of a connection.
func (s *script) vary(p frame.Packet) frame.Packet {
	p.From, p.To = 0, 0
	switch p.Kind {
	case frame.TCP:
		p.Flags = s.tcpFlags()
	case frame.SCTP:
		p.Flags = s.chunk()
	}
	s.extras(&p)
	return p
}

func (s *script) tcpFlags() string {
	return pick(s, []string{"A", "S", "SA", "PA", "FA", "R", "RA", "", "SF", "SR", "FSRPAU", "SEC"})
}

func (s *script) chunk() string {
	return pick(s, []string{"DATA", "INIT", "INIT-ACK", "COOKIE-ECHO", "COOKIE-ACK", "SHUTDOWN", "SHUTDOWN-ACK", "SHUTDOWN-COMPLETE", "ABORT", "HEARTBEAT"})
}

// packet makes one of a choice of hosts and kinds.
func (s *script) packet() frame.Packet {
	family := "4"
	if s.six {
		family = "6"
	}
	hosts := dataplane.TableHosts(family)
	src := pick(s, []string{"client", "pod", "client2", "pod2", "plain", "pooled", "jailed", "router"})
	dst := pick(s, []string{"web", "client", "nosnat", "pod", "several", "every", "pool", "empty", "client2", "outside", "inside", "lost", "all", "snat1", "narrow", "pod3"})
	p := frame.Packet{TTL: frame.DefaultTTL, Length: frame.DefaultLength}
	p.Kind = pick(s, []frame.Kind{frame.TCP, frame.UDP, frame.Echo, frame.SCTP, frame.EchoReply, frame.Other})
	p.Src, p.Dst = withPort(hosts[src], 0), withPort(hosts[dst], 0)
	switch p.Kind {
	case frame.TCP, frame.UDP, frame.SCTP:
		p.Src = withPort(hosts[src], pick(s, []uint16{40001, 40002, 53, 8080}))
		p.Dst = withPort(hosts[dst], pick(s, []uint16{80, 53, 443, 5300, 8080}))
	case frame.Echo, frame.EchoReply:
		p.EchoID = pick(s, []uint16{7, 0, 1, 40001})
	case frame.Other:
		p.Protocol = pick(s, []uint8{47, 50, 4})
	}
	switch p.Kind {
	case frame.TCP:
		p.Flags = pick(s, []string{"S", "A", "SA", "F", "R"})
	case frame.SCTP:
		p.Flags = pick(s, []string{"INIT", "DATA", "ABORT"})
	}
	s.extras(&p)
	return p
}

// extras adds what is unusual, to one packet in two.
func (s *script) extras(p *frame.Packet) {
	p.Options, p.Extensions, p.TCPOptions, p.NoChecksum = nil, nil, false, false
	bits := s.byte()
	if bits < 128 {
		return
	}
	p.TTL = pick(s, []uint8{64, 2, 1, 255, 0x80})
	p.TOS = s.byte()
	p.Length = pick(s, []int{12, 0, 1, 100, 1000, 1300}) // what is too big has tables of its own
	p.ID = uint32(s.byte())
	p.DF = bits&1 != 0
	p.TCPOptions = bits&2 != 0
	p.NoChecksum = bits&4 != 0 && p.Kind == frame.UDP && p.Src.Addr().Is4()
	if bits&8 != 0 && p.Src.Addr().Is4() {
		p.Options = pick(s, [][]string{{"nop"}, {"rr"}, {"ra", "ts"}, {"lsrr"}, {"end", "ssrr"}, {"nop", "ssrr"}})
	}
	if bits&8 != 0 && p.Src.Addr().Is6() {
		p.Extensions = pick(s, [][]string{{"hop"}, {"dst", "route"}, {"hop", "long"}, {"route-left"}, slices.Repeat([]string{"dst"}, 7), slices.Repeat([]string{"dst"}, 8)})
	}
	if bits&16 != 0 && p.Kind != frame.SCTP { // whose sum a fragment alone does not tell
		part := pick(s, [][2]int{{0, 8}, {0, 24}, {0, 48}, {8, 48}, {48, 112}, {0, 2000}})
		p.From, p.To = part[0], part[1]
		p.Length = max(p.Length, 100) // no fragment is empty
	}
}

// change gives both another state.
func (s *script) change(t testing.TB) {
	state := dataplane.TableState()
	servers := state.VirtualServers
	hosts4, hosts6 := dataplane.TableHosts("4"), dataplane.TableHosts("6")
	what := "the state of the tables"
	action := s.byte()
	for i := range servers {
		servers[i].DownAction = dataplane.DownAction(action / 8 % 4)
	}
	switch action % 8 {
	case 1, 6, 7:
		what = "members on other hosts"
		for i, v := range servers {
			for j, m := range v.Members {
				host := hosts4["pod3"]
				if m.Addr.Addr().Is6() {
					host = hosts6["pod3"]
				}
				if len(v.Members) == 1 {
					servers[i].Members[j].Addr = withPort(host, m.Addr.Port())
				}
			}
		}
	case 2:
		what = "no members"
		for i := range servers {
			servers[i].Members = nil
		}
	case 3:
		what = "draining members"
		for i := range servers {
			if len(servers[i].Members) > 1 {
				servers[i].Members[0].Draining = true
			}
		}
	case 4:
		what = "half of the virtual servers"
		state.VirtualServers = servers[:len(servers)/2]
	case 5:
		what = "no egress"
		state.Egresses = nil
	}
	s.pair.apply(t, fmt.Sprintf("%s, down action %s", what, dataplane.DownAction(action/8%4)), state)
}

func withPort(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

// seeds are scripts that get far: whole connections through each kind of virtual server and
// egress, over both families.
func seeds() [][]byte {
	var out [][]byte
	for _, family := range [][]byte{{}, {15}} {
		for _, dst := range []byte{0, 2, 4, 5, 6} {
			for _, kind := range []byte{0, 1, 3} {
				port := kind & 1 & ^(kind >> 1)
				out = append(out,
					append(slices.Clone(family), 0, 0, dst, kind, 0, port, 0, 0, 5, 2, 0, 9, 0, 0, 5, 0, 0, 9, 4, 0, 5, 4, 0, 12, 1, 9, 1, 0))
			}
		}
		for _, src := range []byte{1, 4, 5} {
			for _, kind := range []byte{0, 1, 2, 3} {
				out = append(out, append(slices.Clone(family), 16, src, 1, kind, 0, 2, 0, 0, 5, 2, 0, 9, 0, 0, 5, 0, 0))
			}
		}
	}
	for action := range byte(4) { // an established connection whose member goes
		for _, kind := range []byte{0, 1} {
			out = append(out, []byte{0, 0, 0, kind, 0, kind, 0, 0, 5, 2, 0, 9, 0, 0, 14, 1 + action*8, 9, 0, 0, 5, 0, 0, 14, 0, 9, 0, 0})
		}
	}
	return out
}
