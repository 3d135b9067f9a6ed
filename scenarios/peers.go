package scenarios

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/topo"
)

// peersName names what the scenarios about peers make, among it two endpoints.
const (
	peersName  = "peers"
	goingPod   = "going"
	stayingPod = "staying"
)

// peering is one cell of the table of peers: a kind of router, a family, and whether the router is of the
// TMMs' own AS.
type peering struct {
	kind     string
	f        family
	internal bool
	n        int // its place in the table
}

// peerings are the table's cells.
func peerings() []peering {
	var out []peering
	for _, kind := range topo.RouterKinds() {
		for _, internal := range []bool{false, true} {
			for _, f := range []family{v4, v6} {
				out = append(out, peering{kind, f, internal, len(out)})
			}
		}
	}
	return out
}

// session is "ebgp" or "ibgp".
func (p peering) session() string {
	if p.internal {
		return "ibgp"
	}
	return "ebgp"
}

// The cell's own virtual addresses: two that are told as they are, one that the route map alters and one
// that it hides.
const (
	plainVIP = iota
	secondVIP
	alteredVIP
	hiddenVIP
	vipsOfCell
)

// vip is one of the cell's own virtual addresses.
func (p peering) vip(i int) netip.Addr {
	n := 130 + vipsOfCell*p.n + i
	if p.f == v4 {
		return netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})
	}
	return netip.MustParseAddr(fmt.Sprintf("2001:db8:2::%d", n))
}

// peerCapability is what a lab has that has such a router.
func peerCapability(kind, session string) Capability { return Capability(kind + "-" + session) }

// peerCapabilities are those of a lab's routers.
func peerCapabilities(spec *topo.Lab) []Capability {
	var has []Capability
	for _, r := range spec.Routers {
		for _, n := range r.Neighbors {
			p := peering{kind: kindOf(r), internal: n.ASN == r.ASN}
			has = append(has, peerCapability(p.kind, p.session()))
			if n.Password != "" {
				has = append(has, SignedBGP)
			}
		}
	}
	slices.Sort(has)
	return slices.Compact(has)
}

func kindOf(r topo.Router) string {
	if r.Kind == "" {
		return topo.RouterEmbedded
	}
	return r.Kind
}

// bgpPeers is the table of routers: what holds with each kind, over each family, in another AS and in the
// TMMs' own.
func bgpPeers() []spec {
	rows := []struct {
		name, label string
		body        func(*scene, peering)
	}{
		{"the session is up, and both ends say the same of it", "session", (*scene).peerSession},
		{"a route map tells one address with attributes and hides another", "route-map", (*scene).peerFilter},
		{"two virtual servers of a Service: paths by all TMMs while it has an endpoint, none without", "gate", (*scene).peerGate},
	}
	var out []spec
	for _, row := range rows {
		for _, p := range peerings() {
			out = append(out, spec{
				name:   fmt.Sprintf("%s, %s, %s: %s", p.kind, p.session(), p.f, row.name),
				labels: []string{"bgp", "peers", p.kind, p.session(), p.f.label(), row.label},
				needs:  p.f.needs(BGP, peerCapability(p.kind, p.session())),
				body:   func(s *scene) { row.body(s, p) },
			})
		}
	}
	return append(out, spec{
		name:   "passwords that differ: no router has a session, and each counts what it refuses",
		labels: []string{"bgp", "peers", "password"}, needs: []Capability{BGP, SignedBGP},
		body: func(s *scene) { s.peerPasswords() },
	})
}

// peersSetUp makes the endpoints and the Services of the cells that the lab has routers for in a namespace
// that the TMMs serve, and puts a route map between all routers and the TMMs. Nothing damps: each cell takes the same endpoint away.
func (s *scene) peersSetUp() {
	namespace := "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + peersName + "}\n"
	must(s.lab.Apply(s.ctx, parse(namespace)))
	var docs []string
	for _, pod := range []string{goingPod, stayingPod} {
		docs = append(docs, gatePod(peersName, pod, pod))
	}
	var lists []any
	for _, p := range peerings() {
		if slices.Contains(s.env.Has, peerCapability(p.kind, p.session())) {
			docs = append(docs, p.manifest())
			lists = append(lists, prefixList("peers-altered", p.vip(alteredVIP)), prefixList("peers-hidden", p.vip(hiddenVIP)))
		}
	}
	s.edit(api.KindValues, "", "", func(doc map[string]any) {
		controller := at(doc, "controller")
		controller["watchNamespace"] = fmt.Sprintf("%v,%s", controller["watchNamespace"], peersName)
		at(doc, "tmm")["damping"] = map[string]any{"max": "0s"}
		config := at(doc, "tmm", "dynamicRouting", "tmmRouting", "config")
		config["prefixList"] = lists
		config["routeMaps"] = []any{
			map[string]any{"name": peersName, "seq": 10, "match": "peers-hidden", "deny": true},
			map[string]any{"name": peersName, "seq": 20, "match": "peers-altered", "set": map[string]any{
				"med": 50, "localPreference": 250, "communities": []any{"65001:100", "65001:200"},
			}},
			map[string]any{"name": peersName, "seq": 30},
		}
		eachNeighbor(doc, func(n map[string]any) { n["routeMap"] = peersName })
	})
	must(s.lab.Apply(s.ctx, parse(strings.Join(docs, "---\n"))))
}

func prefixList(name string, a netip.Addr) map[string]any {
	return map[string]any{"name": name, "prefix": hostPrefix(a).String()}
}

// eachNeighbor calls f with each neighbor of the TMMs' values.
func eachNeighbor(values map[string]any, f func(map[string]any)) {
	ginkgo.GinkgoHelper()
	list, ok := at(values, "tmm", "dynamicRouting", "tmmRouting", "config", "bgp")["neighbors"].([]any)
	gomega.Expect(ok).To(gomega.BeTrue(), "the values have BGP neighbors")
	for _, n := range list {
		f(n.(map[string]any))
	}
}

// peersTearDown removes what peersSetUp made.
func (s *scene) peersTearDown() {
	if err := s.lab.Delete(s.ctx, api.KindNamespace, "", peersName, 0); !errors.Is(err, lab.ErrNotFound) {
		check(err, "delete namespace "+peersName)
	}
}

// peer is the cell's router with the TMMs around it.
type peer struct {
	peering
	*world
	router topo.Router
	addr   netip.Addr   // the router's own address of the family, which is the TMMs' neighbor
	selves []netip.Addr // the TMMs' external self-IPs of the family
}

// peerOf is the lab's first router of the cell.
func (s *scene) peerOf(p peering) peer {
	ginkgo.GinkgoHelper()
	out := peer{peering: p, world: s.world()}
	for _, t := range out.tmms {
		out.selves = append(out.selves, p.f.of(t.external.self))
	}
	for _, r := range out.spec.Routers {
		internal := slices.ContainsFunc(r.Neighbors, func(n topo.PeerRange) bool { return n.ASN == r.ASN })
		if kindOf(r) != p.kind || internal != p.internal {
			continue
		}
		for _, nic := range r.NICs {
			a := p.f.of(nic.Addresses)
			if slices.ContainsFunc(r.Neighbors, func(n topo.PeerRange) bool { return n.Range.Contains(a) }) {
				out.router, out.addr = r, a
				return out
			}
		}
	}
	refuse(fmt.Sprintf("the lab has no router %s for %s over %s", p.kind, p.session(), p.f))
	return out
}

// rib asks a router, and nobody else, for what it holds of BGP.
func (s *scene) rib(router string) (bgp.RIB, error) {
	var rib bgp.RIB
	return rib, ctl.Get(s.ctx, s.lab.Socket(router), bgp.PathRIB, &rib)
}

// sessions are a router's with the TMMs over the family.
func (s *scene) sessions(p peer) ([]bgp.Peer, error) {
	var st bgp.RouterState
	err := ctl.Get(s.ctx, s.lab.Socket(p.router.Name), ctl.PathState, &st)
	return slices.DeleteFunc(st.Peers, func(o bgp.Peer) bool { return !slices.Contains(p.selves, o.Addr) }), err
}

// peerSession compares what the two ends of each session say of it, and that the family which the TMMs do
// not accept is neither offered nor told.
func (s *scene) peerSession(c peering) {
	p := s.peerOf(c)
	there := must(s.sessions(p))
	gomega.Expect(there).To(gomega.HaveLen(len(p.tmms)), "sessions of %s with the TMMs", p.router.Name)
	family := map[bool]string{true: bgp.CapabilityIPv4, false: bgp.CapabilityIPv6}
	mine, other := family[c.f == v4], family[c.f != v4]
	for i, t := range p.tmms {
		at := slices.IndexFunc(there, func(o bgp.Peer) bool { return o.Addr == p.selves[i] })
		gomega.Expect(at).To(gomega.BeNumerically(">=", 0), "%s has a session with %s", p.router.Name, t.name)
		here := slices.IndexFunc(t.status.BGP.Peers, func(o bgp.Peer) bool { return o.Addr == p.addr })
		gomega.Expect(here).To(gomega.BeNumerically(">=", 0), "%s has a session with %s", t.name, p.router.Name)
		far, near := there[at], t.status.BGP.Peers[here]
		gomega.Expect(far.State).To(gomega.Equal(bgp.StateEstablished), "%s with %s", p.router.Name, t.name)
		gomega.Expect(near.State).To(gomega.Equal(bgp.StateEstablished), "%s with %s", t.name, p.router.Name)
		gomega.Expect(far.ASN).To(gomega.Equal(t.status.BGP.ASN), "AS of %s", t.name)
		gomega.Expect(near.ASN).To(gomega.Equal(p.router.ASN), "AS of %s", p.router.Name)
		gomega.Expect(far.ASN == p.router.ASN).To(gomega.Equal(c.internal), "the session is internal")
		gomega.Expect(far.HoldTime).To(gomega.Equal(near.HoldTime), "hold times at both ends")
		gomega.Expect(far.Capabilities).To(gomega.ContainElements(mine, bgp.CapabilityASN32, bgp.CapabilityRouteRefresh), "what %s can", t.name)
		gomega.Expect(far.Capabilities).NotTo(gomega.ContainElement(other), "what %s can", t.name)
		gomega.Expect(near.Capabilities).To(gomega.ContainElements(mine, bgp.CapabilityASN32, bgp.CapabilityRouteRefresh), "what %s can", p.router.Name)
	}
	for _, path := range must(s.rib(p.router.Name)).In {
		if slices.Contains(p.selves, path.Peer) {
			gomega.Expect(familyOf(path.Prefix.Addr())).To(gomega.Equal(c.f), "family of %s by %s", path.Prefix, path.Peer)
		}
	}
}

// manifest is two Services with two virtual servers each: the plain ones have the endpoint that goes, what
// the route map is about has the one that stays.
func (p peering) manifest() string {
	field := map[family]string{v4: "destinationAddress", v6: "ipv6destinationAddress"}[p.f]
	var docs []string
	for i, app := range [vipsOfCell]string{plainVIP: goingPod, secondVIP: goingPod, alteredVIP: stayingPod, hiddenVIP: stayingPod} {
		name := p.name() + "-" + app
		if i == plainVIP || i == alteredVIP {
			docs = append(docs, fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: {name: %[2]s, namespace: %[1]s}
spec:
  selector: {app: %[3]s}
  ipFamilyPolicy: PreferDualStack
  ipFamilies: [IPv4, IPv6]
  ports:
    - {name: http, protocol: TCP, port: 80, targetPort: 8080}
`, peersName, name, app))
		}
		docs = append(docs, fmt.Sprintf(`apiVersion: ingresstcp.k8s.f5net.com/v1
kind: F5SPKIngressTCP
metadata: {name: %[2]s-%[3]d, namespace: %[1]s}
service: {name: %[2]s, port: 80}
spec: {%[4]s: "%[5]s", destinationPort: 80, snat: SRC_TRANS_AUTOMAP}
`, peersName, name, i, field, p.vip(i)))
	}
	return strings.Join(docs, "---\n")
}

// name is for the cell's objects.
func (p peering) name() string {
	return strings.Join([]string{p.kind, p.session(), p.f.label()}, "-")
}
