package flow

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/scenarios/report"
)

// Known is what is known about a lab beside a trace. Its zero value is valid: then translations are
// found in the trace alone, and no way is expected.
type Known struct {
	Network      Network
	Translations []Translation
	Drops        []Drop
}

// Follow returns the ways that the packets of a flow took: for each of its connections and each
// direction one path for all packets that took the same way, in the order of their first sights. A
// packet is known again at the next hop by what no translation changes: sequence numbers, payload. Pieces
// of a segment that was cut on the way, or joined, are no packets of their own.
func Follow(t *evidence.Trace, f Flow, k Known) []report.Path {
	x := newTracker(t, f, k)
	var out []report.Path
	for _, j := range x.journeys() {
		out = append(out, x.path(j))
	}
	return out
}

// tracker holds what Follow works on.
type tracker struct {
	trace *evidence.Trace
	flow  Flow
	net   *Network
	drops []Drop
	// as says of a tuple which connection it belongs to.
	as map[Tuple]member
	// fragments is as without ports.
	fragments map[Tuple]member
	// at is the translation of a connection, by connection and TMM.
	at map[Tuple][]Translation
}

// member is a tuple's place in a connection.
type member struct {
	conn  Tuple // as its first packet had it
	reply bool
}

func newTracker(t *evidence.Trace, f Flow, k Known) *tracker {
	x := &tracker{trace: t, flow: f, net: &k.Network, drops: k.Drops, as: map[Tuple]member{}, fragments: map[Tuple]member{}, at: map[Tuple][]Translation{}}
	for _, tr := range append(slices.Clone(k.Translations), infer(t, x.net)...) {
		x.know(tr)
	}
	for _, p := range t.Packets {
		tuple := tupleOf(p)
		if _, known := x.as[tuple]; tuple == (Tuple{}) || known {
			continue
		}
		switch {
		case f.matches(tuple) && !answers(p):
			x.add(tuple)
		case f.matches(tuple.back()):
			x.add(tuple.back())
		}
	}
	return x
}

// add makes the tuple of a first packet a connection's.
func (x *tracker) add(conn Tuple) {
	x.name(conn, member{conn, false})
	x.name(conn.back(), member{conn, true})
}

// name says whose a tuple is, unless that is known.
func (x *tracker) name(t Tuple, m member) {
	if _, known := x.as[t]; known {
		return
	}
	x.as[t] = m
	bare := Tuple{t.Protocol, netip.AddrPortFrom(t.Src.Addr(), 0), netip.AddrPortFrom(t.Dst.Addr(), 0)}
	x.fragments[bare] = m
}

// know takes a translation into account, if one of its tuples is of the flow.
func (x *tracker) know(t Translation) {
	switch m := x.flow.matches; {
	case m(t.From), m(t.To):
	case m(t.From.back()), m(t.To.back()):
		t = t.turned()
	default:
		return
	}
	if slices.Contains(x.at[t.From], t) {
		return
	}
	x.add(t.From)
	x.at[t.From] = append(x.at[t.From], t)
	x.name(t.To, member{t.From, false})
	x.name(t.To.back(), member{t.From, true})
}

// path describes what became of the packets of a journey, from its first packet.
func (x *tracker) path(j *journey) report.Path {
	p := report.Path{Title: j.title(), Reply: j.reply, Diverges: -1}
	t, tmm := x.translation(j)
	p.TMM = tmm
	var want []Hop
	if !j.aside {
		want = shifted(x.net.expect(j.conn, t, cmp.Or(tmm, x.aim(j)), j.reply), j.sights[0])
	}
	for i, s := range j.sights {
		p.Hops = append(p.Hops, seenHop(s, j.sights[:i]))
	}
	c := x.compare(j.sights, want)
	for _, h := range c.want {
		p.Expected = append(p.Expected, expectedHop(h))
	}
	p.Diverges = c.at
	if end, ok := x.end(j, c); ok {
		p.Hops = append(p.Hops, end)
	}
	return p
}

// translation is the connection's at the TMM that the journey passed, and that TMM's name.
func (x *tracker) translation(j *journey) (Translation, string) {
	tmm := ""
	for _, s := range j.sights {
		if x.net.isTMM(s.Point.Node) {
			tmm = s.Point.Node
			break
		}
	}
	all := x.at[j.conn]
	for _, t := range all {
		if t.TMM == tmm || tmm == "" && x.toMAC(j, t.TMM) {
			return t, t.TMM
		}
	}
	if len(all) > 0 && tmm == "" {
		return all[0], all[0].TMM
	}
	return Translation{}, tmm
}

// aim is the TMM to whose MAC the journey's packets were sent, empty if to none.
func (x *tracker) aim(j *journey) string {
	for _, t := range x.net.TMMs {
		if x.toMAC(j, t.Name) {
			return t.Name
		}
	}
	return ""
}

func (x *tracker) toMAC(j *journey, name string) bool {
	t, ok := x.net.tmm(name)
	return ok && slices.ContainsFunc(j.sights, func(p evidence.Packet) bool {
		return p.DstMAC != evidence.MAC{} && (p.DstMAC == t.Internal.MAC || p.DstMAC == t.External.MAC)
	})
}

// shifted gives expected hops the TTL that the first one had: not everybody sends with 64.
func shifted(want []Hop, first evidence.Packet) []Hop {
	if len(want) == 0 || want[0].TTL == 0 {
		return want
	}
	by := int(first.TTL) - want[0].TTL
	for i := range want {
		if want[i].TTL != 0 {
			want[i].TTL += by
		}
	}
	return want
}
