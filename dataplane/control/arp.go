package control

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// ARP over Ethernet for IPv4 (RFC 826).
const (
	arpLen     = 42 // Ethernet header and ARP packet
	arpRequest = 1
	arpReply   = 2
)

// arpProbe is a request for target that no cache learns from: its sender address is 0.0.0.0
// (RFC 5227, 2.1.1).
func arpProbe(from net.HardwareAddr, target netip.Addr) []byte {
	return arpAsk(from, netip.IPv4Unspecified(), target)
}

// arpAsk is a request for target, sent to all.
func arpAsk(from net.HardwareAddr, sender, target netip.Addr) []byte {
	b := make([]byte, 0, arpLen)
	b = append(b, bytes.Repeat([]byte{0xff}, 6)...)
	b = append(b, from...)
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_ARP)
	b = binary.BigEndian.AppendUint16(b, unix.ARPHRD_ETHER)
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_IP)
	b = append(b, 6, 4)
	b = binary.BigEndian.AppendUint16(b, arpRequest)
	b = append(b, from...)
	b = append(b, sender.AsSlice()...)
	b = append(b, 0, 0, 0, 0, 0, 0)
	return append(b, target.AsSlice()...)
}

// parseARPReply returns who says it has which address.
func parseARPReply(b []byte) (addr netip.Addr, mac net.HardwareAddr, ok bool) {
	if len(b) < arpLen || binary.BigEndian.Uint16(b[12:]) != unix.ETH_P_ARP ||
		binary.BigEndian.Uint16(b[14:]) != unix.ARPHRD_ETHER || binary.BigEndian.Uint16(b[16:]) != unix.ETH_P_IP ||
		b[18] != 6 || b[19] != 4 || binary.BigEndian.Uint16(b[20:]) != arpReply {
		return netip.Addr{}, nil, false
	}
	return netip.AddrFrom4([4]byte(b[28:32])), net.HardwareAddr(bytes.Clone(b[22:28])), true
}

// answers asks for every target on one interface and returns those that answered within wait.
func answers(name string, targets []netip.Addr, wait time.Duration) (map[netip.Addr]bool, error) {
	dev, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("probe on %s: %w", name, err)
	}
	fd, sa, err := packetSocket(dev, unix.ETH_P_ARP)
	if err != nil {
		return nil, fmt.Errorf("probe on %s: %w", name, err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, sa); err != nil {
		return nil, fmt.Errorf("probe on %s: bind: %w", name, err)
	}
	for _, t := range targets {
		if err := unix.Sendto(fd, arpProbe(dev.HardwareAddr, t), 0, sa); err != nil {
			return nil, fmt.Errorf("probe %s on %s: %w", t, name, err)
		}
	}
	return collect(fd, targets, time.Now().Add(wait))
}

// packetSocket opens a socket for Ethernet frames and says where on an interface its frames go.
func packetSocket(dev *net.Interface, etherType uint16) (fd int, to *unix.SockaddrLinklayer, err error) {
	proto := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, etherType))
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(proto))
	if err != nil {
		return -1, nil, fmt.Errorf("open a packet socket: %w", err)
	}
	return fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: dev.Index, Halen: 6}, nil
}

// collect reads replies until every target has answered or the deadline has passed.
func collect(fd int, targets []netip.Addr, deadline time.Time) (map[netip.Addr]bool, error) {
	missing := map[netip.Addr]bool{}
	for _, t := range targets {
		missing[t] = true
	}
	found := map[netip.Addr]bool{}
	buf := make([]byte, 128)
	for len(missing) > 0 {
		left := time.Until(deadline)
		if left <= 0 {
			break
		}
		tv := unix.NsecToTimeval(left.Nanoseconds())
		if tv.Sec == 0 && tv.Usec == 0 {
			break
		}
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			return nil, fmt.Errorf("set receive timeout: %w", err)
		}
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("receive: %w", err)
		}
		if a, _, ok := parseARPReply(buf[:n]); ok && missing[a] {
			delete(missing, a)
			found[a] = true
		}
	}
	return found, nil
}
