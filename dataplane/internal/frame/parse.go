package frame

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Names resolves the names of hosts that stand for addresses; nil knows none.
type Names func(name string) (netip.Addr, bool)

// maxLength bounds the data of a packet: an IP packet is no longer than 65535 bytes.
const maxLength = 65535 - 120

// Parse reads a packet from words: kind, source, ">", destination, then what is not usual about
// it in any order, then "about" and the packet that an ICMP error quotes.
func Parse(text string, names Names) (Packet, error) {
	p, err := parse(strings.Fields(text), names)
	if err != nil {
		return Packet{}, fmt.Errorf("packet %q: %w", text, err)
	}
	return p, nil
}

var errTooFew = errors.New("want KIND SOURCE > DESTINATION")

func parse(words []string, names Names) (Packet, error) {
	if len(words) < 4 || words[2] != ">" {
		return Packet{}, errTooFew
	}
	p := Packet{Length: DefaultLength, TTL: DefaultTTL}
	if err := p.setKind(words[0]); err != nil {
		return p, err
	}
	var err error
	if p.Src, err = parseEnd(words[1], p.Kind, names); err != nil {
		return p, err
	}
	if p.Dst, err = parseEnd(words[3], p.Kind, names); err != nil {
		return p, err
	}
	if p.Src.Addr().Is4() != p.Dst.Addr().Is4() {
		return p, fmt.Errorf("%s and %s: two families", p.Src, p.Dst)
	}
	if err := p.parseRest(words[4:], names); err != nil {
		return p, err
	}
	return p, p.check()
}

func (p *Packet) setKind(word string) error {
	p.Kind = Kind(word)
	if number, ok := strings.CutPrefix(word, string(Other)+"-"); ok {
		p.Kind = Other
		n, err := strconv.ParseUint(number, 10, 8)
		p.Protocol = uint8(n)
		return err
	}
	if !p.Kind.hasPorts() && !p.Kind.isEcho() && !p.Kind.isError() {
		return fmt.Errorf("unknown kind %q", word)
	}
	return nil
}

// parseEnd reads "host:port", or "host" alone where there are no ports.
func parseEnd(word string, k Kind, names Names) (netip.AddrPort, error) {
	host, port := word, uint64(0)
	if k.hasPorts() {
		i := strings.LastIndexByte(word, ':')
		if i < 0 {
			return netip.AddrPort{}, fmt.Errorf("%q: no port", word)
		}
		var err error
		if port, err = strconv.ParseUint(word[i+1:], 10, 16); err != nil {
			return netip.AddrPort{}, fmt.Errorf("%q: port: %w", word, err)
		}
		host = strings.TrimSuffix(strings.TrimPrefix(word[:i], "["), "]")
	}
	if names != nil {
		if a, ok := names(host); ok {
			return netip.AddrPortFrom(a, uint16(port)), nil
		}
	}
	a, err := netip.ParseAddr(host)
	if err == nil && (a.Zone() != "" || a.Is4In6()) {
		err = fmt.Errorf("%q: neither IPv4 nor plain IPv6", host)
	}
	return netip.AddrPortFrom(a, uint16(port)), err
}

func (p *Packet) parseRest(words []string, names Names) error {
	for len(words) > 0 {
		word, rest := words[0], words[1:]
		if word == "about" {
			inner, err := parse(rest, names)
			p.Inner = &inner
			return err
		}
		if p.setWord(word) {
			words = rest
			continue
		}
		if len(rest) == 0 {
			return fmt.Errorf("%q: unknown, or without a value", word)
		}
		if err := p.setValue(word, rest[0]); err != nil {
			return fmt.Errorf("%s %s: %w", word, rest[0], err)
		}
		words = rest[1:]
	}
	return nil
}

// setWord takes a word that stands alone.
func (p *Packet) setWord(word string) bool {
	switch {
	case word == "df":
		p.DF = true
	case word == "nosum":
		p.NoChecksum = true
	case word == "extended" && p.Kind.isError():
		p.Extended = true
	case word == "tcpopt":
		p.TCPOptions = true
	case p.Kind == TCP && strings.Trim(word, tcpFlags) == "", p.Kind == SCTP && chunks[word] != 0:
		p.Flags = word
	default:
		return false
	}
	return true
}

// setValue takes a word with the one behind it.
func (p *Packet) setValue(word, value string) error {
	switch word {
	case "opt":
		p.Options = strings.Split(value, ",")
		return nil
	case "ext":
		p.Extensions = strings.Split(value, ",")
		return nil
	case "part":
		from, to, _ := strings.Cut(value, "-")
		var err error
		if p.From, err = strconv.Atoi(from); err != nil {
			return err
		}
		p.To, err = strconv.Atoi(to)
		return err
	}
	n, err := strconv.ParseUint(value, 0, 32)
	if err != nil {
		return err
	}
	switch word {
	case "ttl":
		p.TTL = uint8(n)
	case "tos":
		p.TOS = uint8(n)
	case "label":
		p.Label = uint32(n) & 0xfffff
	case "ipid":
		p.ID = uint32(n)
	case "id":
		p.EchoID = uint16(n)
	case "seq":
		p.Sequence = uint16(n)
	case "code":
		p.Code = uint8(n)
	case "mtu", "pointer":
		p.MTU = uint32(n)
	case "len":
		p.Length = int(n)
	case "cut":
		p.Cut = int(n)
	case "gso":
		p.Segment = int(n)
	default:
		return errors.New("unknown")
	}
	return nil
}

// check refuses what cannot be built.
func (p *Packet) check() error {
	if p.Length < 0 || p.Length > maxLength || p.Cut < 0 {
		return fmt.Errorf("%d bytes of data, %d of what it is about", p.Length, p.Cut)
	}
	if p.From < 0 || p.To < 0 || p.To != 0 && p.From >= p.To || p.From%8 != 0 {
		return fmt.Errorf("part %d-%d", p.From, p.To)
	}
	if p.Kind.isError() && (p.Inner == nil || p.Inner.Kind.isError()) {
		return fmt.Errorf("%s must be about a packet that is no error", p.Kind)
	}
	if !p.Kind.isError() && p.Inner != nil {
		return fmt.Errorf("%s is about nothing", p.Kind)
	}
	for _, o := range p.Options {
		if _, err := optionOf(o); err != nil {
			return err
		}
	}
	for _, e := range p.Extensions {
		if _, _, err := extensionOf(e); err != nil {
			return err
		}
	}
	if len(p.Extensions) > 16 {
		return errors.New("more than 16 extension headers")
	}
	return nil
}
