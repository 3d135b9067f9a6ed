// Package frame writes and reads the frames of tests in words:
//
//	tcp 203.0.113.10:40001 > 192.0.2.10:80 S
//	udp [2001:db8:113::10]:53 > [2001:db8::1]:53 ttl 5 tos 0xb9 len 1000 part 0-504
//	sctp 203.0.113.10:40001 > 192.0.2.10:80 INIT opt rr
//	echo 203.0.113.10 > 192.0.2.10 id 7 seq 1
//	too-big 198.51.100.1 > 198.51.100.16 mtu 1400 cut 28 about tcp 198.51.100.16:2000 > 203.0.113.10:443 A
//
// A frame is built with right lengths and checksums; Verify computes those of any frame anew.
package frame

import (
	"net"
	"net/netip"
)

// Packet is one packet in its Ethernet frame. Its zero fields stand for what is usual: hop limit
// 64, twelve bytes of data, no options.
type Packet struct {
	SrcMAC, DstMAC net.HardwareAddr

	Kind Kind
	// Src and Dst are of one family; their ports count for TCP, UDP and SCTP.
	Src, Dst netip.AddrPort

	TTL        uint8
	TOS        uint8  // traffic class: DSCP and ECN
	Label      uint32 // IPv6 flow label
	ID         uint32 // of IPv4 packets and of fragments
	DF         bool
	Options    []string // of IPv4, see optionsOf
	Extensions []string // of IPv6, see extensionOf
	// From and To are the part of the IP payload that the frame carries as a fragment, in
	// bytes; both 0: all of it.
	From, To int

	Flags      string // of TCP ("SA"), chunk of SCTP ("INIT")
	TCPOptions bool
	Protocol   uint8 // of Other
	EchoID     uint16
	Sequence   uint16
	Code       uint8  // of ICMP errors
	MTU        uint32 // of TooBig, pointer of Parameter
	Length     int    // bytes of data
	NoChecksum bool   // UDP over IPv4

	// Inner is what an ICMP error is about, and Cut how many bytes of it the error quotes, 0
	// for all.
	Inner *Packet
	Cut   int
	// Extended errors quote 128 bytes at least, padded, and have an extension behind them
	// (RFC 4884).
	Extended bool

	// Segment is the size of the segments that the frame stands for, 0 for none. It is
	// metadata of a receive buffer and in no frame.
	Segment int
}

// Kind is what an IP packet carries.
type Kind string

// The kinds of packets.
const (
	TCP          Kind = "tcp"
	UDP          Kind = "udp"
	SCTP         Kind = "sctp"
	Echo         Kind = "echo"
	EchoReply    Kind = "echo-reply"
	Unreachable  Kind = "unreachable"
	TooBig       Kind = "too-big" // IPv4: fragmentation needed
	TimeExceeded Kind = "time-exceeded"
	Parameter    Kind = "parameter"
	Other        Kind = "proto"
)

func (k Kind) hasPorts() bool { return k == TCP || k == UDP || k == SCTP }

func (k Kind) isEcho() bool { return k == Echo || k == EchoReply }

func (k Kind) isError() bool {
	return k == Unreachable || k == TooBig || k == TimeExceeded || k == Parameter
}

// DefaultTTL and DefaultLength are what a zero TTL and a negative Length stand for.
const (
	DefaultTTL    = 64
	DefaultLength = 12
)
