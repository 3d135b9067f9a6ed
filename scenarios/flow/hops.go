package flow

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/scenarios/report"
)

// Who tells of drops.
const (
	ByProxy  = "proxy"
	ByOVN    = "ovn"
	ByKernel = "kernel"
)

// seenHop describes a sight beside those before it.
func seenHop(p evidence.Packet, before []evidence.Packet) report.Hop {
	h := report.Hop{Point: p.Point.String(), Out: p.Out, Src: text(p.Src), Dst: text(p.Dst), At: p.Mono, Sight: report.Seen}
	var changes []string
	if len(before) > 0 {
		changes = changed(before[len(before)-1], p)
	} else if c := p.Checksum(); wrong(c) {
		changes = append(changes, string(c))
	}
	if len(changes) > 0 {
		h.Sight, h.Detail = report.Rewritten, strings.Join(changes, ", ")
		if len(before) == 0 {
			h.Sight = report.Seen
		}
	}
	return h
}

func wrong(c evidence.Checksum) bool {
	return c != evidence.ChecksumUnknown && c != evidence.ChecksumGood
}

// changed says what became of a packet between two sights.
func changed(a, b evidence.Packet) []string {
	var out []string
	say := func(what string, from, to any) {
		if from != to {
			out = append(out, fmt.Sprintf("%s %v → %v", what, from, to))
		}
	}
	say("src", a.Src, b.Src)
	say("dst", a.Dst, b.Dst)
	say("ttl", a.TTL, b.TTL)
	say("vlan", a.VLAN, b.VLAN)
	say("src MAC", a.SrcMAC, b.SrcMAC)
	say("dst MAC", a.DstMAC, b.DstMAC)
	switch was, is := a.Checksum(), b.Checksum(); {
	case wrong(is) && !wrong(was):
		out = append(out, string(is)+" from here on")
	case wrong(is):
		out = append(out, string(is))
	case broken(a, b):
		out = append(out, "checksum does not follow what was rewritten: wrong from here on")
	}
	return out
}

// broken says whether the checksum of a packet that was captured in part, which nobody can recompute,
// changed by something else than the addresses and ports ask for.
func broken(a, b evidence.Packet) bool {
	if a.Checksum() != evidence.ChecksumUnknown || a.Offloaded || b.Offloaded || a.EtherType != b.EtherType || a.PayloadLength() != b.PayloadLength() {
		return false
	}
	x, okA := a.Residue()
	y, okB := b.Residue()
	return okA && okB && x != y
}

// expectedHop is how a report has an expected hop.
func expectedHop(h Hop) report.Hop {
	out := report.Hop{Point: h.Point, Out: h.Out, Src: text(h.Src), Dst: text(h.Dst), Sight: report.Seen}
	if h.TTL != 0 {
		out.Detail = fmt.Sprintf("ttl %d", h.TTL)
	}
	return out
}

// text is empty for what is not known.
func text(a netip.AddrPort) string {
	switch {
	case !a.IsValid():
		return ""
	case a.Port() == 0:
		return a.Addr().String()
	}
	return a.String()
}

// quote is the addresses of the packet that an ICMP error is about.
func quote(p evidence.Packet) (Tuple, bool) {
	b := p.Payload
	switch {
	case p.Protocol == evidence.ProtoICMP && (p.Type == 3 || p.Type == 11 || p.Type == 12) && len(b) >= 20:
		header := int(b[0]&0xf) * 4
		return quoted(b[9], netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20])), b[min(header, len(b)):])
	case p.Protocol == evidence.ProtoICMPv6 && p.Type < 128 && len(b) >= 40:
		return quoted(b[6], netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40])), b[40:])
	}
	return Tuple{}, false
}

func quoted(protocol uint8, src, dst netip.Addr, l4 []byte) (Tuple, bool) {
	t := Tuple{Protocol: protocol, Src: netip.AddrPortFrom(src, 0), Dst: netip.AddrPortFrom(dst, 0)}
	if protocol == evidence.ProtoTCP || protocol == evidence.ProtoUDP || protocol == protoSCTP {
		if len(l4) < 4 {
			return t, false
		}
		t.Src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(l4))
		t.Dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(l4[2:]))
	}
	return t, true
}
