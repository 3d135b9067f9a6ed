package knock

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// again is after how long what has no answer is sent once more.
const again = 300 * time.Millisecond

// Door is where to knock.
type Door struct {
	Server netip.AddrPort
	Hop    netip.Addr // next hop: one that the calling thread's network namespace has in its neighbour table
	// Size is how long the IP packet is, in octets, filled up behind the SYN and not to be fragmented; 0 = as
	// short as it can be.
	Size int
	UDP  bool // sends an empty datagram; Size is ignored
}

// Try knocks from the calling thread's network namespace until an answer comes or ctx ends. Silence is no error.
func Try(ctx context.Context, d Door) (Answer, error) {
	w, err := wayTo(d.Hop)
	if err != nil {
		return Answer{}, fmt.Errorf("way to %s: %w", d.Hop, err)
	}
	port, release, err := reserve(w.from, d.UDP)
	if err != nil {
		return Answer{}, err
	}
	defer release()
	from := netip.AddrPortFrom(w.from, port)
	packet, err := d.packet(from)
	if err != nil {
		return Answer{}, fmt.Errorf("build a packet to %s: %w", d.Server, err)
	}
	fd, err := w.open(d.Server.Addr().Is4())
	if err != nil {
		return Answer{}, err
	}
	defer unix.Close(fd)
	a, err := d.converse(ctx, fd, packet, from, w.to)
	if err != nil || a.Kind != Accepted {
		return a, err
	}
	// The kernel's own reset goes by whichever next hop its routes choose, where nobody knows the connection.
	reset, err := segment(from, d.Server, &layers.TCP{RST: true, Seq: a.next}, 0)
	if err == nil {
		err = unix.Sendto(fd, reset, 0, w.to)
	}
	if err != nil {
		return a, fmt.Errorf("reset the connection to %s: %w", d.Server, err)
	}
	return a, nil
}

// packet is what is sent.
func (d Door) packet(from netip.AddrPort) ([]byte, error) {
	if d.UDP {
		return datagram(from, d.Server)
	}
	return segment(from, d.Server, &layers.TCP{SYN: true, Window: 65535, Seq: uint32(time.Now().UnixNano())}, d.Size)
}

// Longest is how long an IP packet to a next hop may be, in octets, by the link that leads there.
func Longest(hop netip.Addr) (int, error) {
	w, err := wayTo(hop)
	if err != nil {
		return 0, fmt.Errorf("way to %s: %w", hop, err)
	}
	return w.mtu, nil
}

// way is how a next hop is reached.
type way struct {
	from netip.Addr // own address
	mtu  int        // octets
	to   *unix.SockaddrLinklayer
}

func wayTo(hop netip.Addr) (way, error) {
	routes, err := netlink.RouteGet(hop.AsSlice())
	if err != nil || len(routes) == 0 {
		return way{}, fmt.Errorf("find the route: %w", err)
	}
	r := routes[0]
	from, _ := netip.AddrFromSlice(r.Src)
	link, err := netlink.LinkByIndex(r.LinkIndex)
	if err != nil {
		return way{}, fmt.Errorf("find the link: %w", err)
	}
	list, err := netlink.NeighList(r.LinkIndex, netlink.FAMILY_ALL)
	if err != nil {
		return way{}, fmt.Errorf("list neighbours: %w", err)
	}
	for _, n := range list {
		if a, _ := netip.AddrFromSlice(n.IP); a.Unmap() == hop && len(n.HardwareAddr) == 6 {
			w := way{from: from.Unmap(), mtu: link.Attrs().MTU, to: &unix.SockaddrLinklayer{Ifindex: r.LinkIndex, Halen: 6}}
			copy(w.to.Addr[:], n.HardwareAddr)
			return w, nil
		}
	}
	return way{}, fmt.Errorf("%s has no neighbour of that address", link.Attrs().Name)
}

// open opens a socket for IP packets of a family on the link, by which w.to is then to be sent.
func (w *way) open(v4 bool) (fd int, err error) {
	etherType := uint16(unix.ETH_P_IPV6)
	if v4 {
		etherType = unix.ETH_P_IP
	}
	w.to.Protocol = binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, etherType))
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open a packet socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: w.to.Protocol, Ifindex: w.to.Ifindex}); err != nil {
		return -1, errors.Join(fmt.Errorf("bind a packet socket: %w", err), unix.Close(fd))
	}
	return fd, nil
}

// reserve takes a port that nobody else gets until it is released. The kernel resets TCP that comes to it.
func reserve(from netip.Addr, udp bool) (port uint16, release func(), err error) {
	kind := unix.SOCK_STREAM
	if udp {
		kind = unix.SOCK_DGRAM
	}
	family, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: from.As16()})
	if from.Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Addr: from.As4()}
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, fmt.Errorf("open a socket: %w", err)
	}
	release = func() { _ = unix.Close(fd) }
	if err := unix.Bind(fd, sa); err != nil {
		release()
		return 0, nil, fmt.Errorf("bind to %s: %w", from, err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		release()
		return 0, nil, fmt.Errorf("ask for the port of %s: %w", from, err)
	}
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		port = uint16(name.Port)
	case *unix.SockaddrInet6:
		port = uint16(name.Port)
	}
	return port, release, nil
}

// segment is an IP packet with a segment, filled up to a size.
func segment(from, to netip.AddrPort, tcp *layers.TCP, size int) ([]byte, error) {
	tcp.SrcPort, tcp.DstPort = layers.TCPPort(from.Port()), layers.TCPPort(to.Port())
	const header = 20
	return packet(from.Addr(), to.Addr(), layers.IPProtocolTCP, tcp, size-header)
}

// datagram is an IP packet with an empty datagram.
func datagram(from, to netip.AddrPort) ([]byte, error) {
	return packet(from.Addr(), to.Addr(), layers.IPProtocolUDP, &layers.UDP{SrcPort: layers.UDPPort(from.Port()), DstPort: layers.UDPPort(to.Port())}, 0)
}

// transport is a header whose checksum covers IP addresses.
type transport interface {
	gopacket.SerializableLayer
	SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
}

// packet is an IP packet that is not to be fragmented. It is filled up with zeros to a size, the transport's header
// not counted.
func packet(from, to netip.Addr, protocol layers.IPProtocol, l transport, size int) ([]byte, error) {
	const (
		hops             = 64
		header4, header6 = 20, 40
	)
	var ip interface {
		gopacket.SerializableLayer
		gopacket.NetworkLayer
	}
	if to.Is4() {
		ip = &layers.IPv4{Version: 4, TTL: hops, Flags: layers.IPv4DontFragment, Protocol: protocol, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
		size -= header4
	} else {
		ip = &layers.IPv6{Version: 6, HopLimit: hops, NextHeader: protocol, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
		size -= header6
	}
	if err := l.SetNetworkLayerForChecksum(ip); err != nil {
		return nil, err
	}
	fill := gopacket.Payload(make([]byte, max(0, size)))
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, l, fill)
	return b.Bytes(), err
}

// converse sends the packet again and again until an answer comes.
func (d Door) converse(ctx context.Context, fd int, packet []byte, from netip.AddrPort, link *unix.SockaddrLinklayer) (Answer, error) {
	began := time.Now()
	buf := make([]byte, 1<<16)
	for ctx.Err() == nil {
		if err := unix.Sendto(fd, packet, 0, link); err != nil {
			return Answer{}, fmt.Errorf("send to %s: %w", d.Server, err)
		}
		for next := time.Now().Add(again); ctx.Err() == nil; {
			left := time.Until(next).Truncate(time.Microsecond)
			if left <= 0 {
				break
			}
			tv := unix.NsecToTimeval(left.Nanoseconds())
			if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
				return Answer{}, fmt.Errorf("set receive timeout: %w", err)
			}
			n, _, err := unix.Recvfrom(fd, buf, 0)
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				return Answer{}, fmt.Errorf("receive: %w", err)
			}
			if a, ok := read(buf[:n], from, d.Server, d.UDP); ok {
				a.After = time.Since(began)
				return a, nil
			}
		}
	}
	return Answer{}, nil
}
