package scenarios

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/kubesim"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/scenarios/flow"
	"github.com/spklab/spklab/topo"
)

// family is 4 or 6.
type family int

// The families.
const (
	v4 family = 4
	v6 family = 6
)

// String is "IPv4" or "IPv6".
func (f family) String() string { return fmt.Sprintf("IPv%d", int(f)) }

// of returns the first of the addresses that is of the family; the zero Addr if none is.
func (f family) of(addrs []netip.Addr) netip.Addr {
	for _, a := range addrs {
		if a.Is4() == (f == v4) {
			return a
		}
	}
	return netip.Addr{}
}

// label is for Ginkgo's label filters.
func (f family) label() string { return strings.ToLower(f.String()) }

// needs are the capabilities that a scenario of the family asks for besides others.
func (f family) needs(more ...Capability) []Capability {
	if f == v6 {
		return append(more, IPv6)
	}
	return more
}

// world is what a lab consists of at one moment, in the words of the scenarios.
type world struct {
	lab     *lab.Lab
	spec    *topo.Lab
	nodes   []lab.Node
	tmms    []tmm // in the order of their names
	pods    []pod // with the lab's application, in the order of their names
	servers []control.VirtualServerStatus
	accepts map[string][]evidence.MAC // flow.Network's
}

// tmm is one TMM.
type tmm struct {
	name               string
	worker             string
	internal, external leg
	status             control.Status
}

// leg is one interface of a TMM.
type leg struct {
	link   string // net1
	master string // NIC of the worker
	mac    evidence.MAC
	self   []netip.Addr
}

// pod is a pod with the lab's application.
type pod struct {
	namespace, name, worker string
	ips                     []netip.Addr
	ports                   []uint16
}

// id is the pod as greetings say it.
func (p pod) id() string { return p.namespace + "/" + p.name }

// inspect looks into the lab. On a loaded machine a TMM may be late with its answer: where none has come, the lab is
// looked into again.
func (s *scene) inspect() *lab.Inspection {
	ginkgo.GinkgoHelper()
	in := must(s.lab.Inspect(s.ctx))
	if mute(in) != nil {
		s.eventually("a TMM answers", func() error {
			in = must(s.lab.Inspect(s.ctx))
			return mute(in)
		})
	}
	return in
}

// mute says why none of a lab's TMMs has answered; nil where one has, or there are none.
func mute(in *lab.Inspection) error {
	var errs []error
	for _, n := range in.Nodes {
		if why, silent := in.Silent[n.Name]; silent && n.Kind == lab.KindTMM {
			errs = append(errs, fmt.Errorf("%s: %s", n.Name, why))
		}
	}
	if len(in.TMMs) > 0 {
		return nil
	}
	return errors.Join(errs...)
}

// world looks at the lab.
func (s *scene) world() *world {
	ginkgo.GinkgoHelper()
	w := &world{lab: s.lab, spec: s.lab.Spec, nodes: must(s.lab.Nodes())}
	res := must(s.lab.Resources())
	in := s.inspect()
	network := flow.NewNetwork(w.spec, must(s.lab.Links()), res, in.TMMs)
	w.accepts = network.Accepts
	for _, t := range network.TMMs {
		i := slices.IndexFunc(in.TMMs, func(st control.Status) bool { return strings.HasSuffix(st.Pod, "/"+t.Name) })
		w.tmms = append(w.tmms, tmm{name: t.Name, worker: t.Worker, internal: legOf(t.Internal), external: legOf(t.External), status: in.TMMs[i]})
	}
	for i := range res.Pods {
		p := &res.Pods[i]
		if p.DeletionTimestamp != nil || kubesim.IsTMM(p) || len(kubesim.PodIPs(p)) == 0 {
			continue
		}
		app := pod{namespace: p.Namespace, name: p.Name, worker: p.Spec.NodeName, ips: kubesim.PodIPs(p)}
		for _, c := range p.Spec.Containers {
			for _, port := range c.Ports {
				app.ports = append(app.ports, uint16(port.ContainerPort))
			}
		}
		w.pods = append(w.pods, app)
	}
	if len(w.tmms) > 0 {
		w.servers = w.tmms[0].status.VirtualServers
	}
	return w
}

func legOf(l flow.Leg) leg { return leg{link: l.Link, master: l.Master, mac: l.MAC, self: l.Self} }

// points are the interfaces that packets of the lab pass: the NICs of nodes, then those of pods,
// whose macvlan interfaces stand on the nodes'.
func (w *world) points() []evidence.Point {
	var out []evidence.Point
	add := func(node string, links ...string) {
		for _, link := range links {
			out = append(out, evidence.Point{Node: node, Netns: w.lab.Runtime().Netns(node), Interface: link})
		}
	}
	nics := func(node string, nics []topo.NIC) {
		for _, n := range nics {
			add(node, n.Name)
		}
	}
	for _, n := range w.spec.Clients {
		nics(n.Name, n.NICs)
	}
	for _, n := range w.spec.Routers {
		nics(n.Name, n.NICs)
	}
	for _, n := range w.spec.Workers {
		for _, nic := range n.NICs {
			if _, there := w.accepts[n.Name+"/"+nic.Name]; there { // not lent to a pod
				add(n.Name, nic.Name)
			}
		}
	}
	for _, t := range w.tmms {
		for _, f := range t.status.Interfaces {
			add(t.name, f.Name)
		}
	}
	for _, p := range w.pods {
		add(p.name, "eth0")
	}
	return out
}

// client is a host outside, with the router between it and the TMMs.
type client struct {
	name, link string
	addrs      []netip.Addr
	router     string // the first router on its network
	near, far  string // the router's NICs: towards the client, towards the TMMs
	network    string // of the far one
}

// client is the first client that has a router.
func (w *world) client() client {
	ginkgo.GinkgoHelper()
	all := w.clients()
	if len(all) == 0 {
		refuse("the lab has no client behind a router")
	}
	return all[0]
}

// clients are those that have a router, each by the first one.
func (w *world) clients() []client {
	var out []client
	for _, c := range w.spec.Clients {
		for _, nic := range c.NICs {
			for _, r := range w.spec.Routers {
				near := nicOn(r.NICs, nic.Network)
				far := slices.IndexFunc(r.NICs, func(n topo.NIC) bool { return n.Network != nic.Network })
				if near != "" && far >= 0 {
					out = append(out, client{c.Name, nic.Name, nic.Addresses, r.Name, near, r.NICs[far].Name, r.NICs[far].Network})
					break
				}
			}
		}
	}
	return out
}

func nicOn(nics []topo.NIC, network string) string {
	for _, n := range nics {
		if n.Network == network {
			return n.Name
		}
	}
	return ""
}

// uplink is the NIC by which a worker reaches other nodes.
func (w *world) uplink(worker string) string {
	for _, n := range w.spec.Workers {
		if n.Name != worker {
			continue
		}
		for _, nic := range n.NICs {
			if nic.Network == w.spec.Fabric.Network && len(nic.Addresses) > 0 {
				return nic.Name
			}
		}
	}
	return ""
}

// pod is the pod with the address, which the scenario takes for granted.
func (w *world) pod(a netip.Addr) pod {
	ginkgo.GinkgoHelper()
	i := slices.IndexFunc(w.pods, func(p pod) bool { return slices.Contains(p.ips, a) })
	gomega.Expect(i).To(gomega.BeNumerically(">=", 0), "a pod has the address %s", a)
	return w.pods[i]
}

// tmmNamed is the TMM of that name.
func (w *world) tmmNamed(name string) (tmm, bool) {
	for _, t := range w.tmms {
		if t.name == name {
			return t, true
		}
	}
	return tmm{}, false
}

// tmmOf is the TMM that has the self-IP.
func (w *world) tmmOf(self netip.Addr) (tmm, bool) {
	for _, t := range w.tmms {
		if slices.Contains(t.internal.self, self) || slices.Contains(t.external.self, self) {
			return t, true
		}
	}
	return tmm{}, false
}

// server is the first virtual server of the protocol, family and source translation whose
// members are ports that the lab's applications listen on.
func (w *world) server(proto string, f family, snat string) control.VirtualServerStatus {
	ginkgo.GinkgoHelper()
	for _, vs := range w.servers {
		if vs.Protocol != proto || vs.SNAT != snat || vs.Destination.Addr().Is4() != (f == v4) || len(vs.Members) == 0 {
			continue
		}
		if !slices.ContainsFunc(vs.Members, func(m control.MemberStatus) bool { return !w.listens(m.Address) }) {
			return vs
		}
	}
	refuse(fmt.Sprintf("the lab has no virtual server over %s and %s with source translation %s and applications behind it", proto, f, snat))
	return control.VirtualServerStatus{}
}

func (w *world) listens(a netip.AddrPort) bool {
	return slices.ContainsFunc(w.pods, func(p pod) bool {
		return slices.Contains(p.ips, a.Addr()) && slices.Contains(p.ports, a.Port())
	})
}
