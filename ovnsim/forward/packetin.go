package forward

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/ovnsim/forward/bpf"
	"github.com/spklab/spklab/ovnsim/northbound"
)

// errorsPerSecond is how many ICMP errors a node sends. OVN-Kubernetes bounds them, too, by meters of
// its control plane; the figure is this sim's own.
const errorsPerSecond = 25

const (
	etherLen = 14
	ipv4Len  = 20 // the programs have read the header of an IPv6 packet, so that is there
)

// clusterRouter is the router of all nodes.
const clusterRouter = "ovn_cluster_router"

// routers are the addresses that the logical routers of a node answer from, by the side that a packet
// came from: the port of the router on which it arrived, as in OVN.
type routers struct {
	fromPod, fromUplink [2][]netip.Addr // of the first router and of the second
}

func routersOf(node string, s northbound.Topology) routers {
	return routers{
		fromPod:    [2][]netip.Addr{portAddresses(s, "rtos-"+node), portAddresses(s, "rtoj-GR_"+node)},
		fromUplink: [2][]netip.Addr{portAddresses(s, externalPort(node)), portAddresses(s, "rtoj-"+clusterRouter)},
	}
}

func portAddresses(s northbound.Topology, port string) []netip.Addr {
	var out []netip.Addr
	for _, p := range s.RouterPorts {
		for _, n := range p.Networks {
			if prefix, err := netip.ParsePrefix(n); err == nil && p.Name == port {
				out = append(out, prefix.Addr())
			}
		}
	}
	return out
}

// at is the address of the family that the router of a packet answers from, invalid without one.
func (r routers) at(in bpf.PacketIn, v4 bool) netip.Addr {
	side := r.fromPod
	if in.Uplink != 0 {
		side = r.fromUplink
	}
	for _, a := range side[(in.Router-1)&1] {
		if a.Is4() == v4 {
			return a
		}
	}
	return netip.Addr{}
}

// timeExceeded is the frame that tells the sender of a packet that its hop limit is used up (RFC 792,
// RFC 4443 section 3.3), nil where nobody has an address to say so from.
func (r routers) timeExceeded(in bpf.PacketIn) ([]byte, error) {
	data := in.Data[:min(int(in.Len), len(in.Data))]
	if len(data) < etherLen+ipv4Len {
		return nil, nil // a packet so short is nobody's
	}
	eth := &layers.Ethernet{DstMAC: data[6:12], SrcMAC: data[0:6], EthernetType: layers.EthernetType(binary.BigEndian.Uint16(data[12:14]))}
	quoted := data[etherLen:]
	from := r.at(in, eth.EthernetType == layers.EthernetTypeIPv4)
	switch {
	case !from.IsValid():
		return nil, nil
	case from.Is4():
		return frame(eth,
			&layers.IPv4{Version: 4, TTL: 255, Protocol: layers.IPProtocolICMPv4, SrcIP: from.AsSlice(), DstIP: net.IP(quoted[12:16])},
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeTimeExceeded, layers.ICMPv4CodeTTLExceeded)},
			gopacket.Payload(quoted))
	}
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: from.AsSlice(), DstIP: net.IP(quoted[8:24])}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeTimeExceeded, layers.ICMPv6CodeHopLimitExceeded)}
	if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
		return nil, fmt.Errorf("ICMP error: %w", err)
	}
	return frame(eth, ip, icmp, gopacket.Payload(append(make([]byte, 4), quoted...))) // 4 octets are unused
}

func frame(l ...gopacket.SerializableLayer) ([]byte, error) {
	out := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(out, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...); err != nil {
		return nil, fmt.Errorf("ICMP error: %w", err)
	}
	return out.Bytes(), nil
}

// meter lets a number of packets a second through.
type meter struct {
	second int64
	passed int
}

func (m *meter) pass(now time.Time) bool {
	if s := now.Unix(); s != m.second {
		m.second, m.passed = s, 0
	}
	m.passed++
	return m.passed <= errorsPerSecond
}

// answer sends ICMP errors for the logical routers, as ovn-controller does with the packets that come
// to it, until ctx ends.
func (a *agent) answer(ctx context.Context) error {
	in, err := ringbuf.NewReader(a.dp.objs.LrPacketsIn)
	if err != nil {
		return fmt.Errorf("read packets: %w", err)
	}
	defer context.AfterFunc(ctx, func() { in.Close() })()
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	defer unix.Close(socket)
	var m meter
	for {
		record, err := in.Read()
		if err != nil {
			return ignoreClosed(err)
		}
		var p bpf.PacketIn
		if err := binary.Read(bytes.NewReader(record.RawSample), binary.NativeEndian, &p); err != nil {
			return fmt.Errorf("read packet: %w", err)
		}
		out, err := a.answers().timeExceeded(p)
		if err != nil {
			return err
		}
		if out == nil || !m.pass(time.Now()) {
			continue
		}
		to := a.bridge
		if p.Uplink != 0 {
			to = a.uplink
		}
		// A full queue loses the answer, as any.
		_ = unix.Sendto(socket, out, 0, &unix.SockaddrLinklayer{Ifindex: to})
	}
}

func ignoreClosed(err error) error {
	if errors.Is(err, ringbuf.ErrClosed) {
		return nil
	}
	return fmt.Errorf("read packets: %w", err)
}

// answers are the routers of the moment.
func (a *agent) answers() routers {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.routers
}
