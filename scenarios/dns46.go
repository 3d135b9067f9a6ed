package scenarios

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/traffic"
)

// What the scenario about DNS46 asks for.
const (
	nat46Subnet = "10.2.2.0/24"
	nat46TTL    = 60 // seconds
	sixName     = "six.example."
	bothName    = "both.example."
)

// dns46 is the scenario about names of hosts that have IPv6 alone.
func dns46() []spec {
	return []spec{{
		name:   "DNS46: a pod asks over IPv4 for a host that has IPv6 alone, and reaches it by the address that it is given",
		labels: []string{"egress", "dns46", "tcp", "udp", "ipv4", "ipv6"},
		needs:  []Capability{SimOVN, Attached, BGP, IPv6},
		body:   func(s *scene) { s.dns46() },
	}}
}

func (s *scene) dns46() {
	t := s.oneTMMLeft()
	w := s.world()
	c, p := w.client(), w.served(s, v4)
	names := s.serveNames(c,
		fmt.Sprintf("%s %d IN AAAA %s", sixName, 10*nat46TTL, v6.of(c.addrs)),
		fmt.Sprintf("%s 30 IN A %s", bothName, v4.of(c.addrs)),
		fmt.Sprintf("%s 30 IN AAAA %s", bothName, v6.of(c.addrs)))
	s.useDNS46(names)

	resolver := netip.AddrPortFrom(v4.of(t.internal.self), api.PortDNS)
	s.eventually("the TMM answers DNS", func() error {
		_, err := s.ask(p, "udp", resolver, bothName)
		return err
	})
	own := must(s.ask(p, "udp", resolver, bothName))
	gomega.Expect(own).To(gomega.Equal(answer{v4.of(c.addrs), 30 * time.Second}), "a name that has IPv4 is left alone")

	given := must(s.ask(p, "udp", resolver, sixName))
	gomega.Expect(netip.MustParsePrefix(nat46Subnet).Contains(given.addr)).To(gomega.BeTrue(), "%s lies in %s", given.addr, nat46Subnet)
	gomega.Expect(given.ttl).To(gomega.Equal(nat46TTL*time.Second), "how long the pod may keep it")
	gomega.Expect(must(s.ask(p, "tcp", resolver, sixName))).To(gomega.Equal(given), "the answer over TCP")
	for _, proto := range []string{"tcp", "udp"} {
		s.reachesSix(w, c, p, t, proto, given.addr)
	}
	server := s.serve(c, "tcp", v6)
	check(s.unreached(p, netip.AddrPortFrom(given.addr.Next(), server.Port())), "an address that stands for nothing leads nowhere")
}

// reachesSix has the pod talk to the client over IPv4, and holds that it left the TMM as IPv6 with
// the TMM's address.
func (s *scene) reachesSix(w *world, c client, p pod, t tmm, proto string, four netip.Addr) {
	ginkgo.GinkgoHelper()
	server := s.serve(c, proto, v6)
	capture := s.capture(w)
	conn := s.dial(p.name, proto, netip.AddrPortFrom(four, server.Port()))
	gomega.Expect(conn.Greeting.Local).To(gomega.Equal(server), "where the client was asked over %s", proto)
	gomega.Expect(conn.Greeting.Remote.Addr()).To(gomega.Equal(v6.of(t.external.self)), "whom the client saw over %s", proto)
	mark := s.marker()
	check(conn.Echo(mark), "echo over "+proto)
	for _, at := range []struct {
		node string
		four bool
	}{{p.name, true}, {c.name, false}} {
		seen := complete(capture).Select(func(k evidence.Packet) bool { return k.Point.Node == at.node && evidence.Carrying(mark)(k) })
		gomega.Expect(seen).To(gomega.HaveLen(2), "request and answer at %s over %s", at.node, proto)
		for _, k := range seen {
			gomega.Expect(k.Src.Addr().Is4() && k.Dst.Addr().Is4()).To(gomega.Equal(at.four), "IPv4 at %s: %s", at.node, k)
		}
	}
	s.figure(report.Figure{Name: "reached over " + protoName(proto), Value: 1, Note: fmt.Sprintf("%s as %s", server, four)})
}

// oneTMMLeft takes the TMMs but one away until the scenario ends: what DNS46 tells a pod stands
// for something in the TMM that told it.
func (s *scene) oneTMMLeft() tmm {
	ginkgo.GinkgoHelper()
	if before := len(s.world().tmms); before > 1 {
		s.cleanup("scale the TMMs back", func(ctx context.Context) error {
			if _, err := s.lab.Scale(ctx, "tmm", before); err != nil {
				return err
			}
			return s.ready(ctx)
		})
		s.scale(1)
	}
	return s.world().tmms[0]
}

// serveNames runs a name server at a client until the scenario ends.
func (s *scene) serveNames(c client, records ...string) netip.AddrPort {
	ginkgo.GinkgoHelper()
	var names *traffic.NameServer
	check(s.inNetns(c.name, func() (err error) {
		names, err = traffic.ServeNames(records...)
		return err
	}), "serve names at "+c.name)
	ginkgo.DeferCleanup(func() { check(names.Close(), "close the name server at "+c.name) })
	return netip.AddrPortFrom(v4.of(c.addrs), names.Port())
}

// useDNS46 switches DNS46 on for the lab's egress, until the scenario ends.
func (s *scene) useDNS46(upstream netip.AddrPort) {
	ginkgo.GinkgoHelper()
	s.apply(fmt.Sprintf(`apiVersion: k8s.f5net.com/v1
kind: F5SPKDnscache
metadata: {name: scenario-dns, namespace: default}
spec:
  cacheType: resolver
  forwardZones: [{forwardZone: ".", nameServers: [{ipAddress: %s, port: %d}]}]
`, upstream.Addr(), upstream.Port()))
	res := must(s.lab.Resources())
	gomega.Expect(res.Egresses).To(gomega.HaveLen(1), "egresses of the lab")
	e := &res.Egresses[0]
	s.edit(api.KindEgress, e.Namespace, e.Name, func(doc map[string]any) {
		spec := at(doc, "spec")
		spec["dnsNat46Enabled"], spec["dnsNat46Ipv4Subnet"], spec["maxDNS46TTL"] = true, nat46Subnet, nat46TTL
		spec["dnsCacheName"] = "default/scenario-dns"
	})
}

// answer is an address that a name has, and for how long.
type answer struct {
	addr netip.Addr
	ttl  time.Duration
}

// ask has a pod ask for a name that has one IPv4 address.
func (s *scene) ask(p pod, network string, server netip.AddrPort, name string) (answer, error) {
	rrs, err := traffic.Dialer{Netns: s.netns(p.name), Timeout: silence}.Ask(s.ctx, network, server, name)
	if err != nil {
		return answer{}, err
	}
	if len(rrs) != 1 {
		return answer{}, fmt.Errorf("%d addresses of %s", len(rrs), name)
	}
	addr, ok := netip.AddrFromSlice(rrs[0].A)
	if !ok {
		return answer{}, fmt.Errorf("no address: %s", rrs[0])
	}
	return answer{addr.Unmap(), time.Duration(rrs[0].Hdr.Ttl) * time.Second}, nil
}
