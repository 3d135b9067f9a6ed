package scenarios

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/topo"
)

// vlans is what must hold of tagged and untagged networks on one cable.
func vlans() []spec {
	var out []spec
	for _, f := range []family{v4, v6} {
		for _, proto := range []string{"tcp", "udp"} {
			out = append(out, spec{
				name:   fmt.Sprintf("%s over %s comes in by each VLAN, and the answer goes by the same", protoName(proto), f),
				labels: []string{"tagged", "ingress", proto, f.label()}, needs: f.needs(VLANs, SimOVN, BGP),
				body: func(s *scene) { s.ingressByVLANs(proto, f) },
			})
		}
		out = append(out, spec{
			name:   fmt.Sprintf("TCP over %s goes out by the VLAN that the route leads to, with the self-IP of that", f),
			labels: []string{"tagged", "egress", "tcp", f.label()}, needs: f.needs(VLANs, SimOVN, BGP),
			body: func(s *scene) { s.egressByVLANs(f) },
		}, spec{
			name:   fmt.Sprintf("frames of a flow over %s with another tag are no part of it", f),
			labels: []string{"tagged", "isolation", f.label()}, needs: f.needs(VLANs, SimOVN, BGP),
			body: func(s *scene) { s.otherTags(f) },
		})
	}
	return append(out, spec{
		name:   "a self-IP is known on its own VLAN alone",
		labels: []string{"tagged", "isolation", "ipv4"}, needs: []Capability{VLANs, SimOVN, BGP},
		body: func(s *scene) { s.foreignSelfIPs() },
	})
}

// vlanTowards is the VLAN of a TMM on the network of a client's router.
func (w *world) vlanTowards(t tmm, c client) control.VLANStatus {
	ginkgo.GinkgoHelper()
	for _, n := range w.spec.Networks {
		for _, v := range t.status.VLANs {
			if n.Name == c.network && slices.ContainsFunc(v.SelfIPs, func(ip netip.Prefix) bool {
				return slices.ContainsFunc(n.Subnets, func(s netip.Prefix) bool { return s.Contains(ip.Addr()) })
			}) {
				return v
			}
		}
	}
	refuse(fmt.Sprintf("%s has no self-IP on %s, the network of %s", t.name, c.network, c.router))
	return control.VLANStatus{}
}

// selfTowards is the TMM's self-IP there.
func (w *world) selfTowards(t tmm, c client, f family) netip.Addr {
	ginkgo.GinkgoHelper()
	var all []netip.Addr
	for _, p := range w.vlanTowards(t, c).SelfIPs {
		all = append(all, p.Addr())
	}
	return f.of(all)
}

// severalTags asks that the clients are behind at least two tagged networks and an untagged one.
func (s *scene) severalTags(w *world) {
	ginkgo.GinkgoHelper()
	seen := map[int]bool{}
	for _, c := range w.clients() {
		seen[w.vlanTowards(w.tmms[0], c).Tag()] = true
	}
	gomega.Expect(seen).To(gomega.HaveKey(0), "clients behind an untagged network")
	gomega.Expect(len(seen)).To(gomega.BeNumerically(">", 2), "networks with clients")
}

// expectTag asks that all sights of packets at the TMM's external interface have a tag, 0 for none, that both
// directions were seen there, and that the router never sees one.
func (s *scene) expectTag(packets []evidence.Packet, t tmm, c client, tag int) {
	ginkgo.GinkgoHelper()
	in, out := 0, 0
	for _, p := range packets {
		switch {
		case p.Point.Node == c.router:
			gomega.Expect(p.VLAN).To(gomega.BeZero(), "tag of %s", p)
		case p.Point.Node == t.name && p.Point.Interface == t.external.link:
			gomega.Expect(int(p.VLAN)).To(gomega.Equal(tag), "tag of %s", p)
			if p.Out {
				out++
			} else {
				in++
			}
		}
	}
	gomega.Expect(in).To(gomega.BeNumerically(">", 0), "frames that came in at %s/%s", t.name, t.external.link)
	gomega.Expect(out).To(gomega.BeNumerically(">", 0), "frames that left by %s/%s", t.name, t.external.link)
}

// ingressByVLANs has the client behind each network ask the same virtual server.
func (s *scene) ingressByVLANs(proto string, f family) {
	w := s.world()
	s.severalTags(w)
	vs := w.server(proto, f, automap)
	capture := s.capture(w)
	for _, c := range w.clients() {
		conn := s.dial(c.name, proto, vs.Destination)
		mark := s.marker()
		check(conn.Echo(mark), "echo")
		seen := complete(capture).Select(evidence.Carrying(mark))
		t := w.oneTMM(seen)
		v := w.vlanTowards(t, c)
		s.expectTag(seen, t, c, v.Tag())
		s.figure(report.Figure{Name: v.Name, Value: float64(v.Tag()), Note: "tag of the frames of " + c.name})
	}
}

// egressByVLANs has a pod call the clients behind all networks.
func (s *scene) egressByVLANs(f family) {
	w := s.world()
	s.severalTags(w)
	p := w.served(s, f)
	capture := s.capture(w)
	for _, c := range w.clients() {
		conn := s.dial(p.name, "tcp", s.serve(c, "tcp", f))
		mark := s.marker()
		check(conn.Echo(mark), "echo")
		seen := complete(capture).Select(evidence.Carrying(mark))
		t := w.oneTMM(seen)
		gomega.Expect(conn.Greeting.Remote.Addr()).To(gomega.Equal(w.selfTowards(t, c, f)), "the source address that %s saw", c.name)
		s.expectTag(seen, t, c, w.vlanTowards(t, c).Tag())
	}
}

// strangeTags are on no cable of the lab.
var strangeTags = [...]uint16{4093, 4094}

// otherTags puts datagrams of an open flow onto the TMM's cable, past the switch, with tags that are not the
// flow's: with one that no VLAN has they end at the TMM, with another VLAN's they are another flow. The flow's
// own goes last, so that it has arrived when nothing else is to come.
func (s *scene) otherTags(f family) {
	w := s.world()
	vs, t := w.server("udp", f, automap), w.tmms[0]
	clients := w.clients()
	c := clients[slices.IndexFunc(clients, func(c client) bool { return w.vlanTowards(t, c).Tag() != 0 })]
	s.pin(c, vs.Destination.Addr(), w.selfTowards(t, c, f))
	conn := s.dial(c.name, "udp", vs.Destination)
	flow := datagram{from: conn.Local(), to: vs.Destination, src: s.macOf(w, c.router, c.far), dst: t.external.mac}
	capture := s.capture(w)

	strange, foreign := map[uint16][]byte{}, map[uint16][]byte{}
	for _, tag := range strangeTags {
		strange[tag] = s.marker()
		s.inject(w, t, flow.tagged(tag, strange[tag]))
	}
	for _, other := range clients {
		if other.name != c.name {
			tag := uint16(w.vlanTowards(t, other).Tag())
			foreign[tag] = s.marker()
			for range 3 { // the first ones may go the slow way, which looks at more than a key
				s.inject(w, t, flow.tagged(tag, foreign[tag]))
			}
		}
	}
	own := s.marker()
	s.inject(w, t, flow.tagged(uint16(w.vlanTowards(t, c).Tag()), own))
	pod := w.pod(conn.Greeting.Local.Addr()).name
	s.eventually("the flow's own datagram is at its pod, and those of other VLANs are at some", func() error {
		trace := complete(capture)
		if len(arrived(trace, pod, own)) == 0 {
			return fmt.Errorf("the flow's own is not at %s", pod)
		}
		for tag, mark := range foreign {
			if len(w.atPods(trace, mark)) == 0 {
				return fmt.Errorf("the one with the tag %d is at no pod", tag)
			}
		}
		return nil
	})

	trace := complete(capture)
	gomega.Expect(arrived(trace, pod, own)[0].Src).To(gomega.Equal(conn.Greeting.Remote), "the flow as the pod knows it")
	for tag, mark := range strange {
		gomega.Expect(arrived(trace, t.worker, mark)).NotTo(gomega.BeEmpty(), "frames with the tag %d at %s", tag, t.worker)
		for _, p := range trace.Select(evidence.Carrying(mark)) {
			gomega.Expect(p.Point.Node == t.worker || p.Point.Node == t.name && p.Point.Interface == t.external.link && !p.Out).To(gomega.BeTrue(), "a frame with the tag %d got further: %s", tag, p)
		}
	}
	for tag, mark := range foreign {
		for _, got := range w.atPods(trace, mark) {
			gomega.Expect(got.Src).NotTo(gomega.Equal(conn.Greeting.Remote), "the flow of a frame with the tag %d", tag)
		}
	}
	s.figure(report.Figure{Name: "frames with other tags", Value: float64(len(strange) + len(foreign))})
}

// arrived are the sights of a mark coming in at a node.
func arrived(trace *evidence.Trace, node string, mark []byte) []evidence.Packet {
	carries := evidence.Carrying(mark)
	return trace.Select(func(p evidence.Packet) bool { return !p.Out && p.Point.Node == node && carries(p) })
}

// atPods are the sights of a mark coming in at pods.
func (w *world) atPods(trace *evidence.Trace, mark []byte) []evidence.Packet {
	var out []evidence.Packet
	for _, p := range w.pods {
		out = append(out, arrived(trace, p.name, mark)...)
	}
	return out
}

// macOf is the MAC of a node's interface.
func (s *scene) macOf(w *world, node, link string) evidence.MAC {
	ginkgo.GinkgoHelper()
	macs := w.accepts[node+"/"+link]
	gomega.Expect(macs).NotTo(gomega.BeEmpty(), "MAC of %s/%s", node, link)
	return macs[0]
}

// datagram is one between two addresses in a frame between two MACs.
type datagram struct {
	from, to netip.AddrPort
	src, dst evidence.MAC
}

// tagged is the frame with a tag, 0 for none.
func (d datagram) tagged(tag uint16, payload []byte) []byte {
	ginkgo.GinkgoHelper()
	udp := &layers.UDP{SrcPort: layers.UDPPort(d.from.Port()), DstPort: layers.UDPPort(d.to.Port())}
	kind, ip := layers.EthernetTypeIPv4, gopacket.SerializableLayer(nil)
	if d.to.Addr().Is4() {
		v4 := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: d.from.Addr().AsSlice(), DstIP: d.to.Addr().AsSlice()}
		check(udp.SetNetworkLayerForChecksum(v4), "make a datagram")
		ip = v4
	} else {
		v6 := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: d.from.Addr().AsSlice(), DstIP: d.to.Addr().AsSlice()}
		check(udp.SetNetworkLayerForChecksum(v6), "make a datagram")
		kind, ip = layers.EthernetTypeIPv6, v6
	}
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr(d.src[:]), DstMAC: net.HardwareAddr(d.dst[:]), EthernetType: kind}
	all := []gopacket.SerializableLayer{eth, ip, udp, gopacket.Payload(payload)}
	if tag != 0 {
		eth.EthernetType = layers.EthernetTypeDot1Q
		all = slices.Insert(all, 1, gopacket.SerializableLayer(&layers.Dot1Q{VLANIdentifier: tag, Type: kind}))
	}
	b := gopacket.NewSerializeBuffer()
	check(gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...), "make a frame")
	return b.Bytes()
}

// inject puts a frame onto the cable of the NIC that a TMM's external interface stands on, at the switch's end.
func (s *scene) inject(w *world, t tmm, frame []byte) {
	ginkgo.GinkgoHelper()
	steps := must(s.lab.Runtime().Applied())
	i := slices.IndexFunc(steps, func(st topo.Step) bool {
		return st.Veth != nil && st.Veth.A.Netns == s.netns(t.worker) && st.Veth.A.Name == t.external.master
	})
	gomega.Expect(i).To(gomega.BeNumerically(">=", 0), "the cable of %s/%s", t.worker, t.external.master)
	end := steps[i].Veth.B
	check(topo.Do(end.Netns, func() error { return sendFrame(end.Name, frame) }), "put a frame onto "+end.Name)
}

// sendFrame sends a whole frame by an interface of the caller's namespace (packet(7)).
func sendFrame(link string, frame []byte) error {
	l, err := net.InterfaceByName(link)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }() // nothing is buffered
	if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: l.Index}); err != nil {
		return fmt.Errorf("send a frame by %s: %w", link, err)
	}
	return nil
}

// foreignSelfIPs has the router on each network ask by ARP for the self-IPs on all: the one on its own network
// answers, which is asked for last.
func (s *scene) foreignSelfIPs() {
	w := s.world()
	s.severalTags(w)
	t := w.tmms[0]
	capture := s.capture(w)
	asked := 0
	for _, c := range w.clients() {
		own := w.selfTowards(t, c, v4)
		var all []netip.Addr
		for _, other := range w.clients() {
			if a := w.selfTowards(t, other, v4); a != own {
				all = append(all, a)
			}
		}
		asker := netip.AddrFrom4([4]byte{192, 0, 2, byte(200 + asked)}) // whom the answers are for
		for _, a := range append(all, own) {
			request := arpRequest(s.macOf(w, c.router, c.far), asker, a)
			check(s.inNetns(c.router, func() error { return sendFrame(c.far, request) }), "ask for "+a.String())
			asked++
		}
		s.eventually(fmt.Sprintf("%s is known on its own VLAN", own), func() error {
			if len(arpAnswers(complete(capture), c, asker, own)) == 0 {
				return fmt.Errorf("nobody answers %s", c.router)
			}
			return nil
		})
		for _, a := range all {
			gomega.Expect(arpAnswers(complete(capture), c, asker, a)).To(gomega.BeEmpty(), "answers for %s on the network of %s", a, c.router)
		}
	}
	s.figure(report.Figure{Name: "requests", Value: float64(asked)})
}

// arpRequest is a broadcast of RFC 826.
func arpRequest(mac evidence.MAC, from, who netip.Addr) []byte {
	ginkgo.GinkgoHelper()
	b := gopacket.NewSerializeBuffer()
	check(gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true},
		&layers.Ethernet{SrcMAC: mac[:], DstMAC: layers.EthernetBroadcast, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPRequest,
			SourceHwAddress: mac[:], SourceProtAddress: from.AsSlice(), DstHwAddress: make([]byte, 6), DstProtAddress: who.AsSlice(),
		}), "make an ARP request")
	return b.Bytes()
}

// arpAnswers are those about an address, to whoever asked, at the far NIC of a client's router.
func arpAnswers(trace *evidence.Trace, c client, to, about netip.Addr) []evidence.Packet {
	return trace.Select(func(p evidence.Packet) bool {
		var arp layers.ARP
		if p.Out || p.Point.Node != c.router || p.Point.Interface != c.far || p.EtherType != uint16(layers.EthernetTypeARP) || len(p.Data) < 14 ||
			arp.DecodeFromBytes(p.Data[14:], gopacket.NilDecodeFeedback) != nil {
			return false
		}
		return arp.Operation == layers.ARPReply && slices.Equal(arp.SourceProtAddress, about.AsSlice()) && slices.Equal(arp.DstProtAddress, to.AsSlice())
	})
}
