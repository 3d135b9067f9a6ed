package e2e

import "strings"

// change applies the lab's values, or its VLANs, with one text in place of another.
func (w *whyLab) change(document, from, to string) {
	w.t.Helper()
	if !strings.Contains(document, from) {
		w.t.Fatalf("no %q to replace", from)
	}
	w.apply(strings.ReplaceAll(document, from, to))
}

func changedValues(from, to string) func(*whyLab) {
	return func(w *whyLab) { w.change(w.values, from, to) }
}

func changedVLANs(from, to string) func(*whyLab) {
	return func(w *whyLab) { w.change(w.vlans, from, to) }
}

func oldValues(w *whyLab) { w.apply(w.values) }

func oldVLANs(w *whyLab) { w.apply(w.vlans) }

func upAgain(w *whyLab) { mustSpklab(w.t, "up", "spk", "--name", w.lab, "--router", w.router.kind) }

// ready sets whether the two endpoints are.
func ready(is bool) func(*whyLab) {
	return func(w *whyLab) {
		w.t.Helper()
		for _, pod := range []string{"app-1", "app-2"} {
			w.must(w.l.SetReady(w.t.Context(), "spk-apps", pod, is))
		}
	}
}

// resource applies the resource of whyVIP with one text in place of another.
func resource(from, to string) func(*whyLab) {
	return func(w *whyLab) { w.change(whyIngress, from, to) }
}

func oldResource(w *whyLab) { w.apply(whyIngress) }

// forget deletes a resource.
func forget(name string) func(*whyLab) {
	return func(w *whyLab) {
		w.t.Helper()
		mustSpklab(w.t, "delete", "F5SPKIngressTCP", name, "-n", "spk-apps", "--lab", w.lab)
	}
}

// nodeDoes runs a command in a node.
func nodeDoes(node, command string) func(*whyLab) {
	return func(w *whyLab) {
		w.t.Helper()
		w.in(node, "sh", "-c", command)
	}
}

// then does one thing after the other.
func then(steps ...func(*whyLab)) func(*whyLab) {
	return func(w *whyLab) {
		w.t.Helper()
		for _, step := range steps {
			step(w)
		}
	}
}

const whyIngress = `apiVersion: ingresstcp.k8s.f5net.com/v1
kind: F5SPKIngressTCP
metadata: {name: web, namespace: spk-apps}
service: {name: web, port: 80}
spec:
  destinationAddress: 192.0.2.10
  ipv6destinationAddress: "2001:db8:2::10"
  destinationPort: 80
  idleTimeout: 300
  loadBalancingMethod: ROUND_ROBIN
  snat: SRC_TRANS_AUTOMAP
`

const (
	whyNeighbor  = "            - ip: 198.51.100.1\n              asn: 65000\n"
	whyNeighbor6 = "            - ip: 2001:db8:51::1\n              asn: 65000\n"
	whyRouteMap  = "            - ip: 198.51.100.1\n              routeMap: few\n              asn: 65000\n"
	whyFew       = "          routeMaps:\n            - {name: few, seq: 10, match: hidden, deny: true}\n            - {name: few, seq: 20}\n" +
		"          prefixList:\n            - {name: hidden, seq: 10, prefix: 192.0.2.10/32}\n"
)

// obstaclesOfObjects are those in the objects, before BGP: what kind the router is does not matter. Failures 2 to 5 of the
// field are among them.
func obstaclesOfObjects() []obstacle {
	const web = "F5SPKIngressTCP spk-apps/web"
	return []obstacle{
		{name: "resource names another Service", put: resource("{name: web, port", "{name: wep, port"), remove: oldResource, condition: "Service", object: web, field: "service.name", says: "spk-apps/wep is missing"},
		{name: "resource names another port", put: resource("port: 80}", "port: 81}"), remove: oldResource, condition: "port", object: "Service spk-apps/web", field: "spec.ports", says: "no TCP port 81"},
		{name: "another resource has the destination", put: resource("{name: web, namespace", "{name: again, namespace"), remove: forget("again"), condition: "accepted", object: "default/f5-tmm-1", field: "Conflict", says: "192.0.2.10"},
		{name: "fewer self-IPs than TMMs", put: changedVLANs("[198.51.100.16, 198.51.100.17, 198.51.100.18]", "[198.51.100.16]"), remove: oldVLANs, condition: "virtual server", object: "F5SPKVlan default/external", field: "NoSelfIP", says: "holds 1 addresses, and this is TMM number 2"},
		{name: "no IPv6 self-IP", put: changedVLANs(`  selfip_v6s: ["2001:db8:51::16", "2001:db8:51::17", "2001:db8:51::18"]`+"\n  prefixlen_v6: 64\n", ""), remove: oldVLANs, condition: "to be announced", object: "F5SPKVlan default/external", field: "spec.selfip_v6s", says: "no next hop", six: true},
		{name: "interfaces are swapped", put: changedValues("default/macvlan-internal,default/macvlan-external", "default/macvlan-external,default/macvlan-internal"), remove: oldValues, condition: "serving", object: "F5SPKVlan default/external", field: "InterfacesSwapped", says: "answers on 1.1"},
		{name: "internal is missing", put: changedVLANs("internal: true", "internal: false"), remove: oldVLANs, condition: "serving", object: "F5SPKVlan", field: "NoInternalVLAN", says: "internal: true"},
		{name: "two untagged VLANs on one interface", put: changedVLANs(`"1.2"`, `"1.1"`), remove: oldVLANs, condition: "serving", object: "F5SPKVlan default/internal", field: "NotSupported", says: "interface 1.1 carries"},
	}
}

// obstaclesOfValues are those by which routers are not told of the address, failures 1 and 7 of the field.
func obstaclesOfValues() []obstacle {
	const (
		slices   = "EndpointSlices of spk-apps/web"
		neighbor = "BGP neighbor 198.51.100.1"
	)
	damped := then(changedValues(whyDamping, "{free: 0, hold: 1m, max: 1m}"), ready(false), wait("endpoints"), ready(true))
	return []obstacle{
		{name: "Service without endpoints", put: ready(false), remove: ready(true), condition: "endpoints", object: slices, field: "endpoints[].conditions.ready", says: "0 of 2 ready"},
		{name: "dynamic routing is off", put: changedValues("dynamicRouting:\n    enabled: true", "dynamicRouting:\n    enabled: false"), remove: oldValues, condition: "BGP", object: "Helm values", field: "tmm.dynamicRouting.enabled", says: "off"},
		{name: "acceptsIPv4 is not set", put: changedValues("              acceptsIPv4: true\n", ""), remove: oldValues, condition: "family", object: neighbor, field: "acceptsIPv4", says: "false"},
		{name: "acceptsIPv6 is not set", put: changedValues("              acceptsIPv6: true\n", ""), remove: oldValues, condition: "family", object: "BGP neighbor 2001:db8:51::1", field: "acceptsIPv6", says: "false", six: true},
		{name: "a route map hides the VIP", put: func(w *whyLab) {
			w.apply(strings.ReplaceAll(w.values, whyNeighbor, whyRouteMap) + whyFew)
		}, remove: oldValues, condition: "route map", object: "Helm values", field: "routeMap", says: "keeps 192.0.2.10/32 from"},
		{name: "withdrawn too often", put: damped, remove: oldValues, condition: "originated", object: "default/f5-tmm-1", field: "bgp.damped", says: "in short order"},
	}
}

// obstaclesOfSessions are those that keep sessions down, each with evidence from the ends' own words and
// counters.
func obstaclesOfSessions() []obstacle {
	const neighbor = "BGP neighbor 198.51.100.1"
	blocked := func(w *whyLab) {
		nodeDoes("upstream", "nft 'add table inet why; add chain inet why in { type filter hook input priority 0; }; "+
			"add rule inet why in ip version 4 tcp dport 179 counter drop; add rule inet why in ip version 4 tcp sport 179 counter drop'")(w) // BIRD dials, too
		w.router.cut(w)
	}
	open := nodeDoes("upstream", "nft delete table inet why")
	return []obstacle{
		{name: "wrong password", put: changedValues(whyNeighbor, whyNeighbor+"              password: sesame\n"), remove: oldValues, condition: "session", object: neighbor, field: "password", says: "TCPMD5Unexpected of upstream"},
		{name: "wrong password over IPv6", put: changedValues(whyNeighbor6, whyNeighbor6+"              password: sesame\n"), remove: oldValues, condition: "session", object: "BGP neighbor 2001:db8:51::1", field: "password", says: "TCPMD5Unexpected of upstream", six: true},
		{name: "neighbor's ASN does not fit", put: changedValues(whyNeighbor, strings.Replace(whyNeighbor, "65000", "64999", 1)), remove: oldValues, condition: "session", object: neighbor, field: "asn", says: "asn is 64999 here, and router upstream is AS 65000"},
		{name: "own ASN does not fit", put: changedValues("asn: 65001", "asn: 65009"), remove: oldValues, condition: "session", object: "Helm values", field: "bgp.asn", says: "received 2/2"},
		{name: "port 179 is blocked", put: blocked, remove: open, condition: "session", object: "nftables of upstream", field: "table why chain in: TCP port 179", says: "dropped"},
		{name: "router's BGP daemon is dead", put: func(w *whyLab) { w.router.die(w) }, remove: upAgain, condition: "session", object: "upstream", field: "TCP port 179", says: "refused"},
	}
}

// obstaclesOfProcesses are those that are dead, failures 11 and 15 of the field.
func obstaclesOfProcesses() []obstacle {
	return []obstacle{
		{name: "an application is dead", put: func(w *whyLab) { w.kill("app-1") }, remove: upAgain, condition: "reachable", object: "pool member 10.131.1.100:8080", field: "port", says: "nothing listens"},
		{name: "a TMM is dead", put: func(w *whyLab) { w.kill("f5-tmm-2") }, remove: upAgain, condition: "answers", object: "TMM f5-tmm-2", field: "process", says: "f5-tmm-2"},
	}
}

// obstaclesOfPackets are those that only packets tell of, failures 9 and 15 of the field.
func obstaclesOfPackets() []obstacle {
	const deaf = "nft 'add table inet why; add chain inet why in { type filter hook input priority 0; }; add rule inet why in tcp dport 8080 counter drop'"
	return []obstacle{
		{
			name: "a pod's filter", put: nodeDoes("app-1", deaf), remove: nodeDoes("app-1", "nft delete table inet why"),
			condition: "reachable", object: "nftables of app-1", field: "table why chain in: handle 2", says: "dropped",
		},
		{
			name: "a parent's MTU is smaller", put: nodeDoes("worker-1", "ip link set ens256 mtu 1300"),
			remove:    then(nodeDoes("worker-1", "ip link set ens256 mtu 1500"), nodeDoes("f5-tmm-1", "ip link set net2 mtu 1500")),
			condition: "full size", object: "link f5-tmm-1/net2", field: "mtu", says: "worker-1/ens256 carries 1300",
		},
		{
			name: "an application of UDP is dead", put: func(w *whyLab) { w.kill("app-1") }, remove: upAgain,
			condition: "reachable", object: "pool member 10.131.1.100:5300", field: "port", says: "ICMP port unreachable: nothing listens", udp: true,
		},
	}
}

// obstaclesOfLiveness are those that keep BFD down: routes stay, and a router that dies is noticed late.
func obstaclesOfLiveness(speak, silent func(*whyLab)) []obstacle {
	const (
		listed = "    - protocol: udp   # BFD, which a neighbor with `fallover: true` speaks\n      port: \"3784\"\n"
		deaf   = "nft 'add table inet why; add chain inet why in { type filter hook input priority 0; }; add rule inet why in udp dport 3784 counter drop'"
	)
	speak = then(speak, changedValues(whyNeighbor, whyNeighbor+"              fallover: true\n"))
	silent = then(oldValues, silent)
	return []obstacle{
		{
			name: "BFD's port is blocked", put: then(nodeDoes("upstream", deaf), speak), remove: then(nodeDoes("upstream", "nft delete table inet why"), silent),
			condition: "BFD", object: "nftables of upstream", field: "table why chain in: UDP port 3784", says: "BFD is",
		},
		{
			name: "BFD is not among allowed_services", put: then(changedVLANs(listed, ""), speak), remove: then(oldVLANs, silent),
			condition: "BFD", object: "F5SPKVlan default/external", field: "spec.allowed_services", says: "UDP 3784 is not listed",
		},
	}
}
