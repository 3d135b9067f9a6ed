package bench

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net"
	"net/netip"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/bench/bpf"
	"github.com/spklab/spklab/dataplane/internal/frame"
)

// Offsets in frames without IPv4 options and IPv6 extension headers.
const (
	etherBytes    = 14
	ip4Check      = etherBytes + 10
	ip4Addrs      = etherBytes + 12
	ip4Transport  = etherBytes + 20
	ip6Addrs      = etherBytes + 8
	ip6Transport  = etherBytes + 40
	tcpCheck      = 16
	udpCheck      = 6
	frame4Bytes   = 64
	frame6Bytes   = 96
	ip4HeaderSize = 20
)

// flow is the addresses and ports of one direction of a connection.
type flow struct{ src, dst netip.AddrPort }

// kind is what the flows of a measurement have in common.
type kind struct {
	v6       bool
	protocol dataplane.Protocol // TCP or UDP
}

func (k kind) String() string { return k.family() + " " + k.protocol.String() }

func (k kind) family() string {
	if k.v6 {
		return "ipv6"
	}
	return "ipv4"
}

// transport is the offset of the transport header.
func (k kind) transport() int {
	if k.v6 {
		return ip6Transport
	}
	return ip4Transport
}

// check is the offset of the transport checksum.
func (k kind) check() int {
	if k.protocol == dataplane.UDP {
		return k.transport() + udpCheck
	}
	return k.transport() + tcpCheck
}

// build makes a frame of 64 (IPv4) or 96 bytes (IPv6); flags are those of TCP ("S", "SA").
func (k kind) build(f flow, smac, dmac net.HardwareAddr, flags string) ([]byte, error) {
	p := frame.Packet{Kind: frame.TCP, SrcMAC: smac, DstMAC: dmac, Src: f.src, Dst: f.dst, Flags: flags}
	size, header := frame4Bytes, k.transport()+20
	if k.v6 {
		size = frame6Bytes
	}
	if k.protocol == dataplane.UDP {
		p.Kind, p.Flags, header = frame.UDP, "", k.transport()+8
	}
	p.Length = size - header
	b, err := p.Bytes()
	if err != nil {
		return nil, fmt.Errorf("build %s frame: %w", k, err)
	}
	if len(b) != size {
		return nil, fmt.Errorf("build %s frame: %d bytes, want %d", k, len(b), size)
	}
	return b, nil
}

// set writes a flow into a frame that build made, with right checksums.
func (k kind) set(b []byte, f flow) {
	l4 := k.transport()
	if k.v6 {
		src, dst := f.src.Addr().As16(), f.dst.Addr().As16()
		copy(b[ip6Addrs:], src[:])
		copy(b[ip6Addrs+16:], dst[:])
	} else {
		src, dst := f.src.Addr().As4(), f.dst.Addr().As4()
		copy(b[ip4Addrs:], src[:])
		copy(b[ip4Addrs+4:], dst[:])
		put16(b[ip4Check:], 0)
		put16(b[ip4Check:], ^fold(sum(b[etherBytes:etherBytes+ip4HeaderSize])))
	}
	put16(b[l4:], f.src.Port())
	put16(b[l4+2:], f.dst.Port())
	put16(b[k.check():], 0)
	check := ^fold(sum(b[k.addrs():l4]) + uint64(k.protocol) + uint64(len(b)-l4) + sum(b[l4:]))
	if check == 0 && k.protocol == dataplane.UDP {
		check = 0xffff // RFC 768: 0 says that there is none
	}
	put16(b[k.check():], check)
}

// addrs is the offset of the addresses.
func (k kind) addrs() int {
	if k.v6 {
		return ip6Addrs
	}
	return ip4Addrs
}

// get reads the flow of a frame that may have been rewritten.
func (k kind) get(b []byte) flow {
	l4, size := k.transport(), 4
	if k.v6 {
		size = 16
	}
	src, _ := netip.AddrFromSlice(b[k.addrs() : k.addrs()+size])
	dst, _ := netip.AddrFromSlice(b[k.addrs()+size : k.addrs()+2*size])
	return flow{
		netip.AddrPortFrom(src, binary.BigEndian.Uint16(b[l4:])),
		netip.AddrPortFrom(dst, binary.BigEndian.Uint16(b[l4+2:])),
	}
}

// reversed is the other direction.
func (f flow) reversed() flow { return flow{f.dst, f.src} }

// put16 writes a number as on the wire.
func put16(b []byte, v uint16) { binary.BigEndian.PutUint16(b, v) }

// sum adds the 16-bit words of an even number of bytes (RFC 1071).
func sum(b []byte) uint64 {
	var s uint64
	for ; len(b) >= 2; b = b[2:] {
		s += uint64(binary.BigEndian.Uint16(b))
	}
	return s
}

// fold is a sum's one's complement form in 16 bits.
func fold(s uint64) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// native64 is bytes of a frame as the maps hold them.
func native64(b []byte) uint64 { return binary.NativeEndian.Uint64(b) }

func native32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }

func native16(b []byte) uint16 { return binary.NativeEndian.Uint16(b) }

// entry4 is what the wrapper changes of a frame.
func (k kind) entry4(b []byte) bpf.Flow4 {
	return bpf.Flow4{
		Addrs: native64(b[ip4Addrs:]), Ports: native32(b[ip4Transport:]),
		IpCheck: native16(b[ip4Check:]), Check: native16(b[k.check():]),
	}
}

func (k kind) entry6(b []byte) bpf.Flow6 {
	f := bpf.Flow6{Ports: native32(b[ip6Transport:]), Check: native16(b[k.check():])}
	for i := range f.Addrs {
		f.Addrs[i] = native64(b[ip6Addrs+8*i:])
	}
	return f
}

// powerOfTwo reports whether n flows can be told apart by a mask.
func powerOfTwo(n int) bool { return n > 0 && bits.OnesCount(uint(n)) == 1 }
