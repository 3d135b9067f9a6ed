package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Verify computes every checksum of a frame anew, those of the packet that an ICMP error quotes
// among them, and compares the lengths. What a fragment or a quotation leaves out is not
// compared. It answers every fault, joined; nil for a frame that is neither IPv4 nor IPv6.
func Verify(b []byte) error {
	eth := &layers.Ethernet{}
	if err := eth.DecodeFromBytes(b, gopacket.NilDecodeFeedback); err != nil {
		return err
	}
	switch eth.EthernetType {
	case layers.EthernetTypeIPv4:
		return verify4(b[14:], false)
	case layers.EthernetTypeIPv6:
		return verify6(b[14:], false)
	}
	return nil
}

// verify4 verifies an IPv4 packet, quoted or not.
func verify4(b []byte, quoted bool) error {
	if quoted && len(b) >= 20 {
		b = withoutPadding(b, int(binary.BigEndian.Uint16(b[2:])), 20)
	}
	ip := &layers.IPv4{}
	if err := ip.DecodeFromBytes(b, gopacket.NilDecodeFeedback); err != nil {
		return fmt.Errorf("IPv4: %w", err)
	}
	errs := []error{verifySum("IPv4", ip)}
	short := int(binary.BigEndian.Uint16(b[2:])) != len(b)
	if short && !quoted {
		errs = append(errs, fmt.Errorf("IPv4: length %d of %d bytes", ip.Length, len(b)))
	}
	fragment := ip.Flags&layers.IPv4MoreFragments != 0 || ip.FragOffset != 0
	if !fragment && !short {
		errs = append(errs, verifyTransport(uint8(ip.Protocol), ip.Payload, ip, quoted))
	}
	return errors.Join(errs...)
}

func verify6(b []byte, quoted bool) error {
	if len(b) < 40 || b[0]>>4 != 6 {
		return errors.New("IPv6: no header")
	}
	if quoted {
		b = withoutPadding(b, int(binary.BigEndian.Uint16(b[4:]))+40, 40)
	}
	short := int(binary.BigEndian.Uint16(b[4:])) != len(b)-40
	if short && !quoted {
		return fmt.Errorf("IPv6: length %d of %d bytes", binary.BigEndian.Uint16(b[4:]), len(b)-40)
	}
	next, payload, fragment, err := skipExtensions(b[6], b[40:])
	if err != nil && quoted || fragment || short {
		return nil
	}
	if err != nil {
		return err
	}
	network := &layers.IPv6{SrcIP: b[8:24], DstIP: b[24:40]}
	return verifyTransport(next, payload, network, quoted)
}

// withoutPadding is a quoted packet without what stands behind it (RFC 4884).
func withoutPadding(b []byte, said, least int) []byte {
	if said < least || said > len(b) {
		return b
	}
	return b[:said]
}

// skipExtensions goes to the transport header; fragment reports that the packet is part of one.
func skipExtensions(next uint8, b []byte) (transport uint8, payload []byte, fragment bool, err error) {
	for {
		length := 8
		switch next {
		case 0, 43, 60:
			if len(b) >= 2 {
				length += int(b[1]) * 8
			}
		case fragmentHeader:
			if len(b) >= 8 && binary.BigEndian.Uint16(b[2:])&0xfff9 != 0 {
				return next, b, true, nil
			}
		default:
			return next, b, false, nil
		}
		if len(b) < length {
			return next, b, false, errors.New("IPv6: extension header cut short")
		}
		next, b = b[0], b[length:]
	}
}

func verifyTransport(protocol uint8, b []byte, network gopacket.NetworkLayer, quoted bool) error {
	switch layers.IPProtocol(protocol) {
	case layers.IPProtocolTCP:
		return verifyLayer("TCP", b, &layers.TCP{}, network)
	case layers.IPProtocolUDP:
		return verifyUDP(b, network)
	case layers.IPProtocolSCTP:
		return verifySCTP(b)
	case layers.IPProtocolICMPv4:
		l := &layers.ICMPv4{}
		if err := verifyLayer("ICMP", b, l, network); err != nil {
			return err
		}
		switch l.TypeCode.Type() {
		case layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4TypeTimeExceeded, layers.ICMPv4TypeParameterProblem:
			return quotedFault(verify4(b[8:], true), quoted)
		}
	case layers.IPProtocolICMPv6:
		l := &layers.ICMPv6{}
		if err := verifyLayer("ICMPv6", b, l, network); err != nil {
			return err
		}
		if l.TypeCode.Type() < 128 && len(b) >= 8 {
			return quotedFault(verify6(b[8:], true), quoted)
		}
	}
	return nil
}

// quotedFault is the fault of a packet that an error quotes; a quoted error's own quotation is
// nobody's business.
func quotedFault(err error, quoted bool) error {
	if err == nil || quoted {
		return nil
	}
	return fmt.Errorf("quoted packet: %w", err)
}

// decodable is a layer that gopacket decodes and verifies.
type decodable interface {
	DecodeFromBytes([]byte, gopacket.DecodeFeedback) error
	gopacket.LayerWithChecksum
}

func verifyLayer(what string, b []byte, l decodable, network gopacket.NetworkLayer) error {
	if err := l.DecodeFromBytes(b, gopacket.NilDecodeFeedback); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if l, ok := l.(interface {
		SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
	}); ok {
		if err := l.SetNetworkLayerForChecksum(network); err != nil {
			return err
		}
	}
	return verifySum(what, l)
}

func verifySum(what string, l gopacket.LayerWithChecksum) error {
	err, res := l.VerifyChecksum()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if !res.Valid {
		return fmt.Errorf("%s: WRONG CHECKSUM %#04x, right is %#04x", what, res.Actual, res.Correct)
	}
	return nil
}

func verifyUDP(b []byte, network gopacket.NetworkLayer) error {
	udp := &layers.UDP{}
	if err := verifyLayer("UDP", b, udp, network); err != nil {
		return err
	}
	if int(udp.Length) != len(b) {
		return fmt.Errorf("UDP: length %d of %d bytes", udp.Length, len(b))
	}
	if _, six := network.(*layers.IPv6); six && udp.Checksum == 0 {
		return errors.New("UDP: WRONG CHECKSUM: none, over IPv6 (RFC 8200 section 8.1)")
	}
	return nil
}

// verifySCTP computes CRC32c (RFC 9260 appendix A).
func verifySCTP(b []byte) error {
	if len(b) < 12 {
		return errors.New("SCTP: cut short")
	}
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	right := crc32.Update(crc32.Update(crc32.Checksum(b[:8], castagnoli), castagnoli, make([]byte, 4)), castagnoli, b[12:])
	if is := binary.LittleEndian.Uint32(b[8:]); is != right {
		return fmt.Errorf("SCTP: WRONG CHECKSUM %#08x, right is %#08x", is, right)
	}
	return nil
}
