package picture

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
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

// Port is an interface on a segment. One whose cable carries several networks is a port on each of them.
type Port struct {
	Name      string   `json:"name"`
	Tag       int      `json:"tag,omitempty"` // 802.1Q, of its frames on the segment; 0: none
	Segment   string   `json:"segment"`       // the segment's ID
	Addresses []string `json:"addresses,omitempty"`
	Via       string   `json:"via,omitempty"` // "macvlan on worker-1 ens224", "was worker-1 ens225"
}

// Segment is what packets go through between interfaces: a bridge, or a cable by itself.
type Segment struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Kind string `json:"kind"` // "bridge", "cable"
}

// New draws the nodes that are given, in their order, with what the steps of the lab say of them.
func New(title, lab string, steps []topo.Step, nodes []Node) Picture {
	w := wiring{prefix: topo.NetnsName(lab, ""), lanes: map[end][]lane{}, addresses: map[end][]string{}, trunks: map[end][]topo.TrunkVLAN{}}
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

// lane is a segment that an interface is on, with the tag of its frames there, 0 for none.
type lane struct {
	segment string // ID
	tag     int
}

// made is an interface that another one was made into, or that it has become.
type made struct {
	of, is end
	moved  bool // of is there no more
	how    string
}

// wiring is what the steps say, by interface.
type wiring struct {
	prefix    string // of the namespaces' names
	all       []Segment
	lanes     map[end][]lane // by interface, the one without a tag first
	addresses map[end][]string
	trunks    map[end][]topo.TrunkVLAN // by port of a switch
	veths     []topo.VethStep
	made      []made
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
		m := s.Macvlan
		w.made = append(w.made, made{of: end{w.node(m.ParentNetns), m.Parent}, is: end{w.node(m.Netns), m.Name}, how: "macvlan on"})
	case s.HostDevice != nil && s.HostDevice.Device != "":
		m := s.HostDevice
		w.made = append(w.made, made{of: end{w.node(m.HostNetns), m.Device}, is: end{w.node(m.Netns), m.Name}, moved: true, how: "was"})
	case s.Addr != nil:
		e := end{w.node(s.Addr.Netns), s.Addr.Link}
		w.addresses[e] = append(w.addresses[e], s.Addr.Prefix.String())
	case s.Trunk != nil:
		w.trunks[end{w.node(s.Trunk.Netns), s.Trunk.Port}] = s.Trunk.VLANs
	}
}

func (w *wiring) add(s Segment, ends ...end) {
	w.all = append(w.all, s)
	for _, e := range ends {
		w.on(e, s.ID)
	}
}

func (w *wiring) on(e end, segment string) {
	w.lanes[e] = []lane{{segment: segment}}
	w.order = append(w.order, e)
}

// join finds the segments of every cable's end, then those of what was made of it: the same.
func (w *wiring) join() {
	for _, v := range w.veths {
		a, b := end{w.node(v.A.Netns), v.A.Name}, end{w.node(v.B.Netns), v.B.Name}
		switch {
		case v.B.Master != "":
			w.plug(a, b, v.B.Master)
		case v.A.Master != "":
			w.plug(b, a, v.A.Master)
		default:
			w.add(Segment{ID: a.id(), Name: a.node + " – " + b.node, Kind: "cable"}, a, b)
		}
	}
	for _, m := range w.made {
		w.lanes[m.is] = w.lanes[m.of]
		w.order = append(w.order, m.is)
		if m.moved {
			delete(w.lanes, m.of)
		}
	}
	w.tagThemselves()
}

// plug puts the far end of a port's cable on the port's bridge, and on those that the port has tagged.
func (w *wiring) plug(far, port end, bridge string) {
	w.on(far, end{port.node, bridge}.id())
	for _, v := range w.trunks[port] {
		w.lanes[far] = append(w.lanes[far], lane{end{port.node, v.Bridge}.id(), v.Tag})
	}
}

// tagThemselves is for nodes that tag where the cable carries one network: all tags are on that.
func (w *wiring) tagThemselves() {
	for e := range w.addresses {
		dot := strings.LastIndex(e.link, ".")
		if dot < 0 || len(w.lanes[e]) > 0 {
			continue
		}
		parent := end{e.node, e.link[:dot]}
		tag, err := strconv.Atoi(e.link[dot+1:])
		alone := !slices.ContainsFunc(w.lanes[parent], func(l lane) bool { return l.segment != w.lanes[parent][0].segment })
		if err == nil && len(w.lanes[parent]) > 0 && alone {
			w.lanes[parent] = append(slices.Clone(w.lanes[parent]), lane{w.lanes[parent][0].segment, tag})
		}
	}
}

// device is the interface that an interface's frames with a tag come from, by its usual name.
func (e end) device(tag int) end {
	if tag == 0 {
		return e
	}
	return end{e.node, e.link + "." + strconv.Itoa(tag)}
}

// ports are a node's interfaces in the order of their names and tags. A bridge is one only where the node
// has an address on it.
func (w *wiring) ports(node string) []Port {
	var out []Port
	for _, e := range w.order {
		if e.node != node {
			continue
		}
		via := ""
		if i := slices.IndexFunc(w.made, func(m made) bool { return m.is == e }); i >= 0 {
			via = w.made[i].how + " " + w.made[i].of.node + " " + w.made[i].of.link
		}
		for _, l := range w.lanes[e] {
			p := Port{Name: e.link, Tag: l.tag, Segment: l.segment, Addresses: sorted(w.addresses[e.device(l.tag)]), Via: via}
			if p.Segment == e.id() && w.isBridge(e) && len(p.Addresses) == 0 {
				continue
			}
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b Port) int { return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Tag, b.Tag)) })
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
