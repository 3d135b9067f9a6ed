package flow

import (
	"cmp"
	"slices"

	"github.com/spklab/spklab/scenarios/evidence"
)

// whole leaves out what are no packets of their own: pieces of segments that were cut or joined on the
// way, and packets that were on their way when the trace began. A segment that went on in pieces, or in
// another one, has those hops as well.
func (x *tracker) whole(all []*journey) []*journey {
	streams := map[stream][]*journey{}
	for _, j := range all {
		if j.isSegment() {
			streams[j.stream()] = append(streams[j.stream()], j)
		}
	}
	filled := map[*journey][]evidence.Packet{}
	for _, js := range streams {
		longest := slices.MaxFunc(js, func(a, b *journey) int { return cmp.Compare(len(a.sights), len(b.sights)) })
		for _, j := range js {
			filled[j] = j.others(longest, js)
		}
	}
	var out []*journey
	for _, j := range all {
		more := filled[j]
		j.sights = append(j.sights, more...)
		slices.SortStableFunc(j.sights, func(a, b evidence.Packet) int { return cmp.Compare(a.Mono, b.Mono) })
		longest := 0
		for _, o := range streams[j.stream()] {
			longest = max(longest, len(o.sights))
		}
		if len(more) > 0 && len(j.sights) >= longest || x.begunBefore(j) {
			continue
		}
		out = append(out, j)
	}
	return out
}

func (j *journey) stream() stream { return stream{j.conn, j.reply, j.aside} }

// isSegment says whether a journey is TCP data.
func (j *journey) isSegment() bool {
	p := j.sights[0]
	return !j.aside && p.Protocol == evidence.ProtoTCP && p.PayloadLength() > 0
}

// others are the packets in which a segment's octets passed the hops where it was not seen itself.
func (j *journey) others(longest *journey, stream []*journey) []evidence.Packet {
	var out []evidence.Packet
	for _, missed := range longest.sights {
		if j.saw(missed.Hop()) {
			continue
		}
		for _, o := range stream {
			if p, ok := o.carries(j, missed.Hop()); ok {
				out = append(out, p)
				break
			}
		}
	}
	return out
}

// carries returns the packet with which o passed a hop, if that has octets of j and came of j by cutting
// or joining: o is longer there than where j was seen, or was not seen there.
func (o *journey) carries(j *journey, h evidence.Hop) (evidence.Packet, bool) {
	if o == j {
		return evidence.Packet{}, false
	}
	there, ok := o.at(h)
	if d := there.Mono - j.sights[0].Mono; !ok || max(d, -d) > sameTrip || !overlaps(there, j.sights[0]) {
		return evidence.Packet{}, false
	}
	mine := j.last()
	if there.Mono < j.sights[0].Mono {
		mine = j.sights[0]
	}
	beside, both := o.at(mine.Hop())
	return there, !both || beside.PayloadLength() < there.PayloadLength()
}

// at is the packet of a journey at an interface, whatever its addresses.
func (j *journey) at(h evidence.Hop) (evidence.Packet, bool) {
	i := slices.IndexFunc(j.sights, func(p evidence.Packet) bool { return p.Point.String() == h.Point && p.Out == h.Out })
	if i < 0 {
		return evidence.Packet{}, false
	}
	return j.sights[i], true
}

// overlaps says whether two segments share octets of the stream.
func overlaps(a, b evidence.Packet) bool {
	return int32(a.Seq+uint32(a.PayloadLength())-b.Seq) > 0 && int32(b.Seq+uint32(b.PayloadLength())-a.Seq) > 0
}

// begunBefore says whether a packet was on its way when the trace began: it was first seen coming in.
func (x *tracker) begunBefore(j *journey) bool {
	return x.trace.From != 0 && j.sights[0].Mono < x.trace.From+inFlight && !j.sights[0].Out
}
