package flow

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/spklab/spklab/scenarios/evidence"
)

// identity is what of a packet no hop changes.
type identity struct {
	protocol uint8 // of either family: ICMP for ICMPv6
	kind     uint8 // flags of TCP that matter, type of an ICMP message
	seq, ack uint32
	data     bool // TCP: it has a payload
	length   int  // of the payload; TCP: 0, since segments are cut and joined
	hash     uint64
}

// identify is false for what could be any packet.
func identify(p evidence.Packet) (identity, bool) {
	switch {
	case p.Protocol == evidence.ProtoTCP && p.Src.Port() != 0:
		kind := p.Flags & (evidence.SYN | evidence.FIN | evidence.RST)
		if len(p.Payload) > 0 {
			kind &^= evidence.FIN // the last of the segments that one was cut into has it
		}
		return identity{protocol: evidence.ProtoTCP, kind: uint8(kind), seq: p.Seq, ack: p.Ack, data: p.PayloadLength() > 0}, true
	case p.Protocol == evidence.ProtoUDP && p.Src.Port() != 0:
		return identity{protocol: evidence.ProtoUDP, length: p.PayloadLength(), hash: hashed(p.Payload)}, len(p.Payload) > 0
	case p.Protocol == evidence.ProtoICMP || p.Protocol == evidence.ProtoICMPv6:
		return identity{protocol: evidence.ProtoICMP, kind: echoKind(p), seq: p.Seq & 0xffff, length: len(p.Payload), hash: hashed(p.Payload)}, true
	}
	b := p.Transport()
	return identity{protocol: p.Protocol, length: len(b), hash: hashed(b)}, len(b) > 0
}

func hashed(b []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(b) // never fails
	return h.Sum64()
}

// echoKind is the type of an ICMP message, echo as ICMP has it: NAT64 says it in the other family.
func echoKind(p evidence.Packet) uint8 {
	if p.Protocol == evidence.ProtoICMPv6 && (p.Type == 128 || p.Type == 129) {
		return map[uint8]uint8{128: 8, 129: 0}[p.Type]
	}
	return p.Type
}

// journey is one packet from hop to hop; of several that went alike the first.
type journey struct {
	conn   Tuple
	reply  bool
	aside  bool // an ICMP error about the connection
	sights []evidence.Packet
	number int // of packets that went alike
}

func (j *journey) last() evidence.Packet { return j.sights[len(j.sights)-1] }

// has says whether the packet had the addresses anywhere.
func (j *journey) has(t Tuple) bool {
	return slices.ContainsFunc(j.sights, func(p evidence.Packet) bool { return tupleOf(p) == t })
}

// title says whose packets these are.
func (j *journey) title() string {
	p := j.sights[0]
	what := p.Kind()
	s := j.conn.String()
	if j.reply {
		s += ", answer"
	}
	if j.aside {
		s = "about " + j.conn.String()
	}
	s += ": " + what
	if j.number > 1 {
		s += fmt.Sprintf(" and %d more alike", j.number-1)
	}
	return s
}

// sameTrip bounds how long a packet may take from hop to hop, ns; what comes later is another with
// the same octets, a retransmission.
const sameTrip = 100e6

// stream is one direction of a connection.
type stream struct {
	conn         Tuple
	reply, aside bool
}

// journeys are the ways of the flow's packets: equal ones once, in the order of their first sights.
func (x *tracker) journeys() []*journey {
	type key struct {
		stream
		identity
	}
	var all []*journey
	open := map[key][]*journey{}
	for _, p := range x.trace.Packets {
		st, ok := x.belongs(p)
		if !ok || !x.net.meant(p) {
			continue
		}
		id, ok := identify(p)
		if !ok {
			continue
		}
		k := key{st, id}
		i := place(open[k], p)
		if i < 0 {
			j := &journey{conn: st.conn, reply: st.reply, aside: st.aside, number: 1}
			all, open[k] = append(all, j), append(open[k], j)
			i = len(open[k]) - 1
		}
		open[k][i].sights = append(open[k][i].sights, p)
	}
	return alike(x.whole(all))
}

// place is the index of the journey that a packet goes on with: the oldest one of the same length, or the
// oldest one; -1 if it is another packet.
func place(open []*journey, p evidence.Packet) int {
	goesOn := func(j *journey) bool { return !j.saw(p.Hop()) && p.Mono-j.last().Mono < sameTrip }
	i := slices.IndexFunc(open, func(j *journey) bool { return goesOn(j) && j.last().PayloadLength() == p.PayloadLength() })
	if i < 0 {
		i = slices.IndexFunc(open, goesOn)
	}
	return i
}

// belongs says which stream of the flow a packet is of.
func (x *tracker) belongs(p evidence.Packet) (stream, bool) {
	t := tupleOf(p)
	if quoted, ok := quote(p); ok {
		m, known := x.as[quoted]
		return stream{m.conn, !m.reply, true}, known
	}
	m, ok := x.as[t]
	if !ok && t.Src.Port() == 0 && t.Protocol != 0 {
		m, ok = x.fragments[t]
	}
	return stream{conn: m.conn, reply: m.reply}, ok
}

// alike joins journeys that took the same way, the first one's place counts.
func alike(all []*journey) []*journey {
	first := map[string]*journey{}
	var out []*journey
	for _, j := range all {
		k := j.signature()
		if f, ok := first[k]; ok {
			f.number++
			continue
		}
		first[k] = j
		out = append(out, j)
	}
	slices.SortStableFunc(out, func(a, b *journey) int { return cmp.Compare(a.sights[0].Mono, b.sights[0].Mono) })
	return out
}

// signature tells ways apart.
func (j *journey) signature() string {
	s := fmt.Sprint(j.conn, j.reply, j.aside)
	for _, p := range j.sights {
		s += fmt.Sprintf("|%v %v %s %t", HopOf(p), p.VLAN, p.Checksum(), p.Offloaded)
	}
	return s
}

// saw says whether the packet was seen at an interface, whatever its addresses.
func (j *journey) saw(h evidence.Hop) bool {
	_, ok := j.at(h)
	return ok
}
