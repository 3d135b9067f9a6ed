package picture

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/spklab/spklab/topo"
)

// Picture is what is drawn. Its JSON is stable.
type Picture struct {
	Title    string    `json:"title"`
	Boxes    []Box     `json:"boxes"`
	Segments []Segment `json:"segments"`
}

// State says how a node does.
type State string

// The states.
const (
	Planned State = ""     // it does not run
	Good    State = "good" // it does what it is for
	Bad     State = "bad"
)

// Node is what a box says beside what the steps tell of it.
type Node struct {
	Name  string   `json:"name"`
	Kind  string   `json:"kind"`            // "worker", "tmm", "pod", "router", "client"
	Group string   `json:"group,omitempty"` // the worker that a pod runs on
	State State    `json:"state,omitempty"`
	Notes []string `json:"notes,omitempty"` // a line each
}

// Box is a node with its interfaces.
type Box struct {
	Node
	Ports []Port `json:"ports"`
}

// Port is an interface on a segment.
type Port struct {
	Name      string   `json:"name"`
	Segment   string   `json:"segment"` // the segment's ID
	Addresses []string `json:"addresses,omitempty"`
	Via       string   `json:"via,omitempty"` // "macvlan on worker-1 ens224"
}

// Segment is what packets go through between interfaces: a bridge, or a cable by itself.
type Segment struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Kind string `json:"kind"` // "bridge", "cable"
}

// New draws the nodes that are given, in their order, with what the steps of the lab say of them.
func New(title, lab string, steps []topo.Step, nodes []Node) Picture {
	w := wiring{prefix: topo.NetnsName(lab, ""), segments: map[end]string{}, addresses: map[end][]string{}}
	for _, s := range steps {
		w.read(s)
	}
	w.join()
	p := Picture{Title: title}
	used := map[string]bool{}
	for _, n := range nodes {
		b := Box{Node: n, Ports: w.ports(n.Name)}
		for _, port := range b.Ports {
			used[port.Segment] = true
		}
		p.Boxes = append(p.Boxes, b)
	}
	for _, s := range w.all {
		if used[s.ID] {
			p.Segments = append(p.Segments, s)
		}
	}
	return p
}

// end is an interface of a node.
type end struct{ node, link string }

func (e end) id() string { return e.node + "/" + e.link }

// wiring is what the steps say, by interface.
type wiring struct {
	prefix    string // of the namespaces' names
	all       []Segment
	segments  map[end]string // ID by interface
	addresses map[end][]string
	veths     []topo.VethStep
	children  []topo.MacvlanStep
	order     []end // interfaces as they were made
}

// node is the node that a namespace belongs to.
func (w *wiring) node(netns string) string { return strings.TrimPrefix(netns, w.prefix) }

func (w *wiring) read(s topo.Step) {
	switch {
	case s.Bridge != nil:
		e := end{w.node(s.Bridge.Netns), s.Bridge.Name}
		name := e.link
		if e.node != topo.Switch {
			name += " of " + e.node
		}
		w.add(Segment{ID: e.id(), Name: name, Kind: "bridge"}, e)
	case s.Veth != nil:
		w.veths = append(w.veths, *s.Veth)
	case s.Macvlan != nil:
		w.children = append(w.children, *s.Macvlan)
	case s.Addr != nil:
		e := end{w.node(s.Addr.Netns), s.Addr.Link}
		w.addresses[e] = append(w.addresses[e], s.Addr.Prefix.String())
	}
}

func (w *wiring) add(s Segment, ends ...end) {
	w.all = append(w.all, s)
	for _, e := range ends {
		w.on(e, s.ID)
	}
}

func (w *wiring) on(e end, segment string) {
	w.segments[e] = segment
	w.order = append(w.order, e)
}

// join finds the segment of every cable's end, then that of every macvlan child: its parent's.
func (w *wiring) join() {
	for _, v := range w.veths {
		a, b := end{w.node(v.A.Netns), v.A.Name}, end{w.node(v.B.Netns), v.B.Name}
		switch {
		case v.B.Master != "":
			w.on(a, end{b.node, v.B.Master}.id())
		case v.A.Master != "":
			w.on(b, end{a.node, v.A.Master}.id())
		default:
			w.add(Segment{ID: a.id(), Name: a.node + " – " + b.node, Kind: "cable"}, a, b)
		}
	}
	for _, m := range w.children {
		w.on(end{w.node(m.Netns), m.Name}, w.segments[end{w.node(m.ParentNetns), m.Parent}])
	}
}

// ports are a node's interfaces in the order of their names. A bridge is one only where the node
// has an address on it.
func (w *wiring) ports(node string) []Port {
	var out []Port
	for _, e := range w.order {
		if e.node != node {
			continue
		}
		p := Port{Name: e.link, Segment: w.segments[e], Addresses: sorted(w.addresses[e])}
		if p.Segment == e.id() && w.isBridge(e) && len(p.Addresses) == 0 {
			continue
		}
		for _, m := range w.children {
			if w.node(m.Netns) == node && m.Name == e.link {
				p.Via = "macvlan on " + w.node(m.ParentNetns) + " " + m.Parent
			}
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Port) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (w *wiring) isBridge(e end) bool {
	return slices.ContainsFunc(w.all, func(s Segment) bool { return s.ID == e.id() && s.Kind == "bridge" })
}

// sorted puts IPv4 before IPv6.
func sorted(prefixes []string) []string {
	out := slices.Clone(prefixes)
	slices.SortFunc(out, func(a, b string) int {
		x, y := netip.MustParsePrefix(a), netip.MustParsePrefix(b)
		return cmp.Or(cmp.Compare(x.Addr().BitLen(), y.Addr().BitLen()), x.Addr().Compare(y.Addr()))
	})
	return out
}

// segment is where a segment stands in the picture, -1 when it is not there.
func (p *Picture) segment(id string) int {
	return slices.IndexFunc(p.Segments, func(s Segment) bool { return s.ID == id })
}
