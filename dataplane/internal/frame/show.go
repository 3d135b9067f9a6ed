package frame

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Show says what a frame holds, in the words that Parse reads where there are such, the MAC
// addresses first, and the faults that Verify finds.
func Show(b []byte) string {
	if len(b) < 14 {
		return fmt.Sprintf("%x", b)
	}
	s := fmt.Sprintf("%s > %s | %s", net.HardwareAddr(b[6:12]), net.HardwareAddr(b[:6]), Words(b))
	if err := Verify(b); err != nil {
		s += " | " + strings.ReplaceAll(err.Error(), "\n", ", ")
	}
	return s
}

// Words is Show without the MAC addresses and the faults. For a frame that Bytes has built, other
// than a fragment, Parse makes the same frame of it.
func Words(b []byte) string {
	if len(b) < 14 {
		return fmt.Sprintf("%x", b)
	}
	switch binary.BigEndian.Uint16(b[12:]) {
	case 0x0800:
		return words4(b[14:])
	case 0x86dd:
		return words6(b[14:])
	}
	return fmt.Sprintf("ethertype %#04x %x", b[12:14], b[14:])
}

// line collects the words of a packet.
type line struct {
	src, dst netip.Addr
	head     string
	rest     []string
}

func (l *line) add(format string, args ...any) { l.rest = append(l.rest, fmt.Sprintf(format, args...)) }

func (l *line) addIf(is bool, format string, args ...any) {
	if is {
		l.add(format, args...)
	}
}

func (l *line) ends(kind string, sport, dport []byte) {
	if sport == nil {
		l.head = fmt.Sprintf("%s %s > %s", kind, l.src, l.dst)
		return
	}
	port := func(a netip.Addr, b []byte) netip.AddrPort { return netip.AddrPortFrom(a, binary.BigEndian.Uint16(b)) }
	l.head = fmt.Sprintf("%s %s > %s", kind, port(l.src, sport), port(l.dst, dport))
}

func (l *line) String() string { return strings.Join(append([]string{l.head}, l.rest...), " ") }

func words4(b []byte) string {
	if len(b) < 20 || b[0]>>4 != 4 || int(b[0]&15)*4 > len(b) || b[0]&15 < 5 {
		return fmt.Sprintf("malformed IPv4 %x", b)
	}
	src, _ := netip.AddrFromSlice(b[12:16])
	dst, _ := netip.AddrFromSlice(b[16:20])
	l := &line{src: src, dst: dst}
	l.addIf(b[8] != DefaultTTL, "ttl %d", b[8])
	l.addIf(b[1] != 0, "tos %#02x", b[1])
	id, offset := binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:])
	l.addIf(id != 0, "ipid %d", id)
	l.addIf(offset&0x4000 != 0, "df")
	if options := b[20 : int(b[0]&15)*4]; len(options) > 0 {
		l.add("opt %s", words4Options(options))
	}
	payload := b[int(b[0]&15)*4:]
	if offset&0x3fff != 0 {
		return fragmentWords(l, b[9], payload, int(offset&0x1fff)*8, offset&0x2000 != 0)
	}
	l.transport(b[9], payload)
	return l.String()
}

func words4Options(b []byte) string {
	names := map[byte]string{0: "end", 1: "nop", 7: "rr", 68: "ts", 131: "lsrr", 137: "ssrr", 148: "ra"}
	var out []string
	for len(b) > 0 {
		name, ok := names[b[0]]
		if !ok {
			name = fmt.Sprintf("option-%d", b[0])
		}
		length := 1
		if b[0] > 1 && len(b) > 1 {
			length = max(2, min(int(b[1]), len(b)))
		}
		if b[0] == 0 && len(bytes.Trim(b, "\x00")) == 0 && len(b) < 4 {
			break // padding
		}
		out = append(out, name)
		b = b[min(length, len(b)):]
	}
	return strings.Join(out, ",")
}

func words6(b []byte) string {
	if len(b) < 40 || b[0]>>4 != 6 {
		return fmt.Sprintf("malformed IPv6 %x", b)
	}
	src, _ := netip.AddrFromSlice(b[8:24])
	dst, _ := netip.AddrFromSlice(b[24:40])
	l := &line{src: src, dst: dst}
	first := binary.BigEndian.Uint32(b)
	l.addIf(b[7] != DefaultTTL, "ttl %d", b[7])
	l.addIf(first>>20&0xff != 0, "tos %#02x", first>>20&0xff)
	l.addIf(first&0xfffff != 0, "label %d", first&0xfffff)
	next, payload, names := b[6], b[40:], []string(nil)
	for len(payload) >= 8 && (next == 0 || next == 43 || next == 60) && len(payload) >= int(payload[1])*8+8 {
		length := int(payload[1])*8 + 8
		names = append(names, extensionName(next, payload[:length]))
		next, payload = payload[0], payload[length:]
	}
	l.addIf(names != nil, "ext %s", strings.Join(names, ","))
	if next == fragmentHeader && len(payload) >= 8 {
		offset := binary.BigEndian.Uint16(payload[2:])
		l.add("ipid %d", binary.BigEndian.Uint32(payload[4:]))
		return fragmentWords(l, payload[0], payload[8:], int(offset&0xfff8), offset&1 != 0)
	}
	l.transport(next, payload)
	return l.String()
}

func extensionName(typ uint8, head []byte) string {
	for _, name := range []string{"hop", "alert", "dst", "long", "route", "route-left"} {
		t, h, _ := extensionOf(name)
		if t == typ && bytes.Equal(h[1:], head[1:]) {
			return name
		}
	}
	return fmt.Sprintf("extension-%d-%x", typ, head)
}

// fragmentWords are in the order of Parse's as far as ports go; Parse does not read them.
func fragmentWords(l *line, protocol uint8, payload []byte, offset int, more bool) string {
	names := map[uint8]Kind{6: TCP, 17: UDP, 132: SCTP}
	kind, ok := names[protocol]
	echo := offset == 0 && len(payload) >= 8 && (protocol == 1 && payload[0] == 8 || protocol == 58 && payload[0] == 128)
	switch {
	case ok && offset == 0 && len(payload) >= 4:
		l.ends(string(kind), payload, payload[2:])
	case echo:
		l.ends(string(Echo), nil, nil)
		l.add("id %d", binary.BigEndian.Uint16(payload[4:]))
	default:
		l.ends(fmt.Sprintf("%s-%d", Other, protocol), nil, nil)
	}
	end := ""
	if more {
		end = "+"
	}
	l.add("part %d-%d%s data %x", offset, offset+len(payload), end, payload)
	return l.String()
}

// transport adds what an IP packet carries.
func (l *line) transport(protocol uint8, b []byte) {
	switch {
	case protocol == 6 && len(b) >= 20 && int(b[12]>>4)*4 <= len(b):
		l.ends("tcp", b, b[2:])
		var flags strings.Builder
		for i, f := range tcpFlags {
			if b[13]&(1<<i) != 0 {
				flags.WriteRune(f)
			}
		}
		l.addIf(flags.Len() > 0, "%s", flags.String())
		l.addIf(b[12]>>4 > 5, "tcpopt")
		l.data(b[int(b[12]>>4)*4:])
	case protocol == 17 && len(b) >= 8:
		l.ends("udp", b, b[2:])
		l.addIf(b[6]|b[7] == 0, "nosum")
		l.data(b[8:])
	case protocol == 132 && len(b) >= 16:
		l.ends("sctp", b, b[2:])
		l.addIf(chunkName(b[12]) != "DATA", "%s", chunkName(b[12]))
		l.data(b[16:])
	case protocol == 1 && l.src.Is4() && len(b) >= 8:
		l.icmp4(b)
	case protocol == 58 && l.src.Is6() && len(b) >= 8:
		l.icmp6(b)
	default:
		l.ends(fmt.Sprintf("proto-%d", protocol), nil, nil)
		l.data(b)
	}
}

func chunkName(typ uint8) string {
	for _, name := range slices.Sorted(maps.Keys(chunks)) {
		if chunks[name] == typ {
			return name
		}
	}
	if typ == 0 {
		return "DATA"
	}
	return fmt.Sprintf("CHUNK-%d", typ)
}

func (l *line) icmp4(b []byte) {
	mtu := binary.BigEndian.Uint16(b[6:])
	switch {
	case b[0] == 8 && b[1] == 0:
		l.echo("echo", b)
	case b[0] == 0 && b[1] == 0:
		l.echo("echo-reply", b)
	case b[0] == 3 && b[1] == 4:
		l.about("too-big", b, "mtu %d", mtu)
	case b[0] == 3:
		l.about("unreachable", b, "code %d", b[1])
	case b[0] == 11:
		l.about("time-exceeded", b, "code %d", b[1])
	case b[0] == 12:
		l.about("parameter", b, "code %d pointer %d", b[1], b[4])
	default:
		l.ends(fmt.Sprintf("icmp-%d-%d", b[0], b[1]), nil, nil)
		l.data(b[4:])
	}
}

func (l *line) icmp6(b []byte) {
	word := binary.BigEndian.Uint32(b[4:])
	switch {
	case b[0] == 128 && b[1] == 0:
		l.echo("echo", b)
	case b[0] == 129 && b[1] == 0:
		l.echo("echo-reply", b)
	case b[0] == 1:
		l.about("unreachable", b, "code %d", b[1])
	case b[0] == 2:
		l.about("too-big", b, "mtu %d", word)
	case b[0] == 3:
		l.about("time-exceeded", b, "code %d", b[1])
	case b[0] == 4:
		l.about("parameter", b, "code %d pointer %d", b[1], word)
	default:
		l.ends(fmt.Sprintf("icmp-%d-%d", b[0], b[1]), nil, nil)
		l.data(b[4:])
	}
}

func (l *line) echo(kind string, b []byte) {
	l.ends(kind, nil, nil)
	l.add("id %d seq %d", binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:]))
	l.data(b[8:])
}

// about adds the packet that an error quotes, as far as it goes.
func (l *line) about(kind string, b []byte, format string, args ...any) {
	l.ends(kind, nil, nil)
	l.add(format, args...)
	inner, said := b[8:], 0
	switch {
	case l.src.Is4() && len(inner) >= 20:
		said = int(binary.BigEndian.Uint16(inner[2:]))
	case l.src.Is6() && len(inner) >= 40:
		said = int(binary.BigEndian.Uint16(inner[4:])) + 40
	default:
		l.add("about %x", inner)
		return
	}
	l.addIf(said > len(inner), "cut %d", len(inner))
	whole := append(slices.Clone(inner), make([]byte, max(0, said-len(inner)))...)
	if l.src.Is4() {
		l.add("about %s", words4(whole))
	} else {
		l.add("about %s", words6(whole))
	}
	l.addIf(said > len(inner), "quoted %x", inner)
}

// data adds how much is carried, and all of it when it is not what Bytes puts there.
func (l *line) data(b []byte) {
	l.addIf(len(b) != DefaultLength, "len %d", len(b))
	l.addIf(!bytes.Equal(b, data(len(b))), "data %x", b)
}

// Ends are the addresses of a frame with the ports of its TCP, UDP or SCTP header or the
// identifier of its echo in place of a port: that of the asking end. They are the zero values
// where the frame has none.
func Ends(b []byte) (src, dst netip.AddrPort) {
	words := strings.Fields(Words(b))
	if len(words) < 4 {
		return src, dst
	}
	p, err := Parse(strings.Join(words[:4], " "), nil)
	if err != nil {
		return src, dst
	}
	src, dst = p.Src, p.Dst
	for i, word := range words[:len(words)-1] {
		if word != "id" || !p.Kind.isEcho() {
			continue
		}
		var id uint16
		if _, err := fmt.Sscan(words[i+1], &id); err != nil {
			return src, dst
		}
		if p.Kind == Echo {
			return netip.AddrPortFrom(src.Addr(), id), dst
		}
		return src, netip.AddrPortFrom(dst.Addr(), id)
	}
	return src, dst
}
