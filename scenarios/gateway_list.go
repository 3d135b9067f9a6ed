package scenarios

import "fmt"

// externalGateways is what OVN-Kubernetes' own list of tests asks of external gateways, in its
// words, for every way in which a project can get them, and what goes wrong in the field besides.
func externalGateways() []spec {
	var l gatewayList
	for _, from := range allOrigins() {
		l.traffic(from)
	}
	l.ownAddress()
	l.conntrack()
	l.changes()
	l.detection()
	l.faults()
	return l
}

// gatewayList collects the scenarios.
type gatewayList []spec

func (l *gatewayList) add(f family, needs []Capability, labels []string, body func(*scene), name string, args ...any) {
	*l = append(*l, spec{
		name: fmt.Sprintf(name, args...), labels: append([]string{"exgw", f.label()}, labels...),
		needs: f.needs(append([]Capability{OVN}, needs...)...), body: body,
	})
}

// traffic is both ways by one gateway and by two.
func (l *gatewayList) traffic(from origin) {
	for _, t := range transports("tcp", "udp", "icmp") {
		needs := []Capability{}
		if t.proto == "icmp" {
			needs = append(needs, Ping)
		}
		l.add(t.f, needs, []string{from.label, t.proto, "connectivity"}, func(s *scene) { s.connectivity(from, t) },
			"%s: %s reaches what is behind the gateway, and after an update what is behind the new one", from.name, t)
		l.add(t.f, needs, []string{from.label, t.proto, "ecmp"}, func(s *scene) { s.balanced(from, t) },
			"%s: %s goes by both of two gateways", from.name, t)
	}
	for _, t := range transports("tcp", "udp") {
		l.add(t.f, nil, []string{from.label, t.proto, "ingress", "symmetry"}, func(s *scene) { s.ingressFrom(from, t) },
			"%s: %s from each of two gateways to the pod is answered by the same one", from.name, t)
	}
}

// ownAddress is what a gateway's pod itself answers.
func (l *gatewayList) ownAddress() {
	for _, from := range []origin{byPods(), byDynamic()} {
		for _, f := range []family{v4, v6} {
			l.add(f, []Capability{Ping}, []string{from.label, "icmp", "loopback"}, func(s *scene) { s.loopback(from, f) },
				"%s: the gateway's own loopback answers ICMP echo over %s", from.name, f)
		}
	}
}

// conntrack is what becomes of entries when gateways go.
func (l *gatewayList) conntrack() {
	for _, d := range departures() {
		for _, t := range transports("tcp", "udp") {
			l.add(t.f, []Capability{Conntrack}, []string{d.from.label, t.proto, "conntrack", d.label}, func(s *scene) { s.stale(d, t) },
				"%s: a gateway that %s takes its entries along and leaves the others, %s", d.from.name, d.name, t)
		}
	}
	for _, pair := range [][2]origin{{byNamespace(), byStatic()}, {byStatic(), byNamespace()}, {byPods(), byDynamic()}, {byDynamic(), byPods()}} {
		for _, t := range transports("tcp", "udp") {
			l.add(t.f, []Capability{Conntrack}, []string{pair[0].label, pair[1].label, t.proto, "conntrack", "two-sources"},
				func(s *scene) { s.unchanged(pair[0], pair[1], t) },
				"without %s while %s names the same gateways: routes, entries and connections stay, %s", pair[0].name, pair[1].name, t)
		}
	}
}

// changes are those of gateways that stay gateways.
func (l *gatewayList) changes() {
	for _, f := range []family{v4, v6} {
		l.add(f, nil, []string{"namespace-annotation", "policy-static", "migration"}, func(s *scene) { s.migration(f) },
			"from namespace annotation to policy: no exchange over %s is lost", f)
	}
	for _, from := range []origin{byStatic(), byDynamic()} {
		for _, t := range transports("tcp", "udp") {
			l.add(t.f, nil, []string{from.label, t.proto, "mac"}, func(s *scene) { s.newMAC(from, t) },
				"%s: egress over %s goes on when the gateway's MAC changes", from.name, t)
		}
	}
	for _, t := range transports("tcp", "udp") {
		l.add(t.f, nil, []string{"gateway-pod", t.proto, "mac", "restart"}, func(s *scene) { s.restartWithNewMAC(t) },
			"gateway pods: a gateway that comes back with a new MAC is used over %s", t)
	}
	l.add(v4, nil, []string{"policy-static", "policy-dynamic", "status"}, (*scene).policyStatus,
		"a policy says Success, and Fail with the reason when no gateway has the network it names")
}

// detection is BFD with traffic, each origin over one family.
func (l *gatewayList) detection() {
	for i, from := range allOrigins() {
		f := []family{v4, v6}[i%2]
		l.add(f, nil, []string{from.label, "bfd"}, func(s *scene) { s.bfdGateways(from, f) },
			"%s: with BFD over %s a dead gateway's share moves in time, and comes back with it", from.name, f)
	}
}

// faults are what goes wrong in the field.
func (l *gatewayList) faults() {
	for _, from := range allOrigins() {
		for _, f := range []family{v4, v6} {
			l.add(f, nil, []string{from.label, "dead"}, func(s *scene) { s.deadGateway(from, f) },
				"%s: without BFD a dead gateway's share of connections over %s is lost, and no more", from.name, f)
		}
	}
	for _, f := range []family{v4, v6} {
		l.add(f, []Capability{IPv6}, []string{"namespace-annotation", "family"}, func(s *scene) { s.oneFamily(f) },
			"a gateway of %s alone leads that family alone", f)
		l.add(f, []Capability{IPv6}, []string{"namespace-annotation", "no-common-family"}, func(s *scene) { s.noCommonFamily(f) },
			"a pod of %s alone has no route by a gateway of the other family, and the reason is said", f)
	}
	l.add(v4, nil, []string{"gateway-pod", "address"}, (*scene).oneAddressTwice,
		"two gateway pods with one address: the first serves, the second is named and takes over")
	l.add(v4, nil, []string{"namespace-annotation", "address"}, (*scene).badAddress,
		"one bad address in the namespace annotation rejects all, and is named")
	l.add(v4, []Capability{NBCtl}, []string{"controller", "scale"}, (*scene).controllerDown,
		"a TMM goes while the controller is stopped: its rows stay, and go when the controller goes on")
}
