package dataplane

import (
	"encoding/binary"
	"net/netip"
)

// Families as the kernel numbers them.
const (
	afInet  = 2
	afInet6 = 10
)

// wire32 and wire16 turn network byte order into the integers that hold the same bytes.
func wire32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }

func wire16(port uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], port)
	return binary.NativeEndian.Uint16(b[:])
}

func portOf(wire uint16) uint16 { return wire16(wire) } // its own inverse

// wire4 is an IPv4 address as a map holds it; 0 for any other address.
func wire4(a netip.Addr) uint32 {
	if !a.Is4() {
		return 0
	}
	b := a.As4()
	return wire32(b[:])
}

// wire6 is an IPv6 address as a map holds it; zero for any other address.
func wire6(a netip.Addr) (w [4]uint32) {
	if !a.Is6() {
		return w
	}
	b := a.As16()
	for i := range w {
		w[i] = wire32(b[4*i:])
	}
	return w
}

// wireAny is an address of either family, IPv4 in the first word.
func wireAny(a netip.Addr) (w [4]uint32, family uint8) {
	if a.Is4() {
		return [4]uint32{wire4(a)}, afInet
	}
	return wire6(a), afInet6
}

func addr4(w uint32) netip.Addr {
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], w)
	return netip.AddrFrom4(b)
}

func addr6(w [4]uint32) netip.Addr {
	var b [16]byte
	for i, v := range w {
		binary.NativeEndian.PutUint32(b[4*i:], v)
	}
	return netip.AddrFrom16(b)
}

func addrAny(w [4]uint32, family uint8) netip.Addr {
	if family == afInet {
		return addr4(w[0])
	}
	return addr6(w)
}

// cstring is the text before the first zero byte.
func cstring(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
