package flow

import (
	"github.com/spklab/spklab/scenarios/evidence"
)

// inferWithin bounds how long a node has a packet that it translates, ns.
const inferWithin = 50e6

// infer finds translations in the trace itself: a packet that went into a node and left it with other
// addresses. Those of answers are turned round where the trace tells that they are answers.
func infer(t *evidence.Trace, net *Network) []Translation {
	type key struct {
		node string
		identity
	}
	var out []Translation
	in := map[key]evidence.Packet{}
	known := map[Translation]bool{}
	for _, p := range t.Packets {
		tuple := tupleOf(p)
		id, ok := identify(p)
		if tuple == (Tuple{}) || !ok || !net.meant(p) {
			continue
		}
		if _, about := quote(p); about {
			continue
		}
		k := key{p.Point.Node, id}
		if !p.Out {
			in[k] = p
			continue
		}
		was, seen := in[k]
		if !seen || p.Mono-was.Mono > inferWithin || tupleOf(was) == tuple {
			continue
		}
		tr := Translation{p.Point.Node, tupleOf(was), tuple}
		if answers(p) || known[tr.turned()] {
			tr = tr.turned()
		}
		if !known[tr] {
			known[tr] = true
			out = append(out, tr)
		}
	}
	return out
}

// turned is the translation of the connection whose answers t translates.
func (t Translation) turned() Translation { return Translation{t.TMM, t.To.back(), t.From.back()} }

// answers says whether a packet is surely not the first of its flow.
func answers(p evidence.Packet) bool {
	return p.Protocol == evidence.ProtoTCP && p.Flags.Has(evidence.SYN|evidence.ACK) ||
		p.Protocol == evidence.ProtoICMP && p.Type == 0 || p.Protocol == evidence.ProtoICMPv6 && p.Type == 129
}
