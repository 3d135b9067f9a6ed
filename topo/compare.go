package topo

import (
	"slices"

	"github.com/spklab/spklab/topo/dump"
)

// compare says which recorded steps have to be taken back, and which lines exist as the plan wants them. A line
// that is neither is made again over what is left of it: the kernel takes addresses, routes and settings away
// with an interface that is made anew.
func (w *world) compare(records []record, p Plan) (undo []Step, have map[string]bool, err error) {
	wanted, links := map[string]bool{}, map[string]bool{}
	for _, s := range p.Steps() {
		wanted[s.String()] = true
		for _, l := range s.links() {
			links[l] = true
		}
	}
	gone, err := w.r.vanishedNetns(records)
	if err != nil {
		return nil, nil, err
	}
	alive, lent := w.r.Processes(), w.lent(records)
	left, anew := map[string]bool{}, losses{}
	for _, rec := range records {
		if !wanted[rec.line] || !rec.made || w.vanished(rec.step, gone, alive, lent) {
			left[rec.line] = true
			anew.add(rec.step, links)
		}
	}
	for more := true; more; {
		more = false
		for _, rec := range records {
			if !left[rec.line] && anew.carry(rec.step) {
				left[rec.line], more = true, true
				anew.add(rec.step, links)
			}
		}
	}
	have = map[string]bool{}
	for _, rec := range records {
		switch {
		case left[rec.line]:
			undo = append(undo, rec.step)
		case !anew.took(rec.step) && !w.drifted(rec.step):
			have[rec.line] = true
		}
	}
	return undo, have, nil
}

// drifted says whether a card is not as its step made it, because VFs or their drivers have gone. It is made so
// again; what its record says was before stays.
func (w *world) drifted(s Step) bool { return s.PF != nil && !w.r.cards().Stands(s.PF.Target) }

// losses are interfaces, NETNS/LINK, that are made anew.
type losses map[string]bool

// add adds the interfaces of a step that the plan goes on to want.
func (l losses) add(s Step, wanted map[string]bool) {
	for _, link := range s.links() {
		if wanted[link] {
			l[link] = true
		}
	}
}

// carry says whether a step stands on one of the interfaces and has to be taken back before it is made anew:
// what is a port or a child of it, and a process that was told of it by its name.
func (l losses) carry(s Step) bool {
	switch {
	case s.Veth != nil:
		return l[s.Veth.A.Netns+"/"+s.Veth.A.Master] || l[s.Veth.B.Netns+"/"+s.Veth.B.Master]
	case s.Macvlan != nil:
		return l[s.Macvlan.ParentNetns+"/"+s.Macvlan.Parent]
	case s.HostDevice != nil:
		return l[s.HostDevice.HostNetns+"/"+s.HostDevice.Device]
	case s.Uplink != nil:
		return l[s.Uplink.Netns+"/"+s.Uplink.Bridge]
	case s.Trunk != nil:
		return l[s.Trunk.Netns+"/"+s.Trunk.Port] || slices.ContainsFunc(s.Trunk.VLANs, func(v TrunkVLAN) bool { return l[s.Trunk.Netns+"/"+v.Bridge] })
	case s.Process != nil:
		return slices.ContainsFunc(s.Process.Argv, func(word string) bool { return l[s.Process.Netns+"/"+word] })
	}
	return false
}

// took says whether the kernel has taken what a step made away with one of the interfaces. A route by a
// gateway may have left by any of its namespace.
func (l losses) took(s Step) bool {
	switch {
	case s.Addr != nil:
		return l[s.Addr.Netns+"/"+s.Addr.Link]
	case s.Link != nil:
		return l[s.Link.Netns+"/"+s.Link.Name]
	case s.Sysctl != nil:
		return l[s.Sysctl.Netns+"/"+s.Sysctl.link()]
	case s.Route != nil && s.Route.Link != "":
		return l[s.Route.Netns+"/"+s.Route.Link]
	case s.Route != nil:
		for link := range l {
			if inNetns(link, s.Route.Netns) {
				return true
			}
		}
	}
	return false
}

func inNetns(link, netns string) bool {
	return len(link) > len(netns) && link[:len(netns)] == netns && link[len(netns)] == '/'
}

// links are the interfaces, NETNS/LINK, that a step makes or brings.
func (s Step) links() []string {
	switch {
	case s.Bridge != nil:
		return []string{s.Bridge.Netns + "/" + s.Bridge.Name}
	case s.Veth != nil:
		return []string{s.Veth.A.Netns + "/" + s.Veth.A.Name, s.Veth.B.Netns + "/" + s.Veth.B.Name}
	case s.Macvlan != nil:
		return []string{s.Macvlan.Netns + "/" + s.Macvlan.Name}
	case s.HostDevice != nil:
		return []string{s.HostDevice.Netns + "/" + s.HostDevice.Name}
	case s.VF != nil:
		return []string{s.VF.Netns + "/" + s.VF.Name}
	case s.Trunk != nil:
		var out []string
		for _, v := range s.Trunk.VLANs {
			out = append(out, s.Trunk.Netns+"/"+v.Device)
		}
		return out
	}
	return nil
}

// lent are the interfaces, NETNS/LINK, that are in pods as host devices.
func (w *world) lent(records []record) map[string]bool {
	out := map[string]bool{}
	for _, rec := range records {
		if d := rec.step.HostDevice; d != nil {
			if was, err := w.lentState(d); err == nil {
				out[d.HostNetns+"/"+was.Name] = true
			}
		}
	}
	return out
}

// vanishedNetns are the recorded namespaces that somebody else has removed.
func (r *Runtime) vanishedNetns(records []record) (gone map[string]bool, err error) {
	gone = map[string]bool{}
	for _, rec := range records {
		n := rec.step.Netns
		if n == nil {
			continue
		}
		own, err := r.has(n.Name)
		if err != nil {
			return nil, err
		}
		gone[n.Name] = !own
	}
	return gone, nil
}

// vanished says whether a step that was made does not stand any more: a namespace is gone with all that was in
// it, an interface has been removed, a card has lost a VF or the VF its interface, or a process has ended.
func (w *world) vanished(s Step, gone map[string]bool, alive map[string][]int, lent map[string]bool) bool {
	for _, ns := range s.namespaces() {
		if gone[ns] {
			return true
		}
	}
	switch {
	case s.VF != nil:
		return !w.r.vfs().Present(s.VF.Address)
	case s.Process != nil:
		return len(alive[s.Process.Name]) == 0
	case s.HostDevice != nil && s.HostDevice.pci():
		return false // one that a driver of user space holds has no interface
	case s.Veth != nil:
		return w.missing(s.Veth.A.Netns, s.Veth.A.Name, lent) || w.missing(s.Veth.B.Netns, s.Veth.B.Name, lent)
	case s.Bridge != nil:
		return w.missing(s.Bridge.Netns, s.Bridge.Name, lent)
	case s.Macvlan != nil:
		return w.missing(s.Macvlan.Netns, s.Macvlan.Name, lent)
	case s.HostDevice != nil:
		return w.missing(s.HostDevice.Netns, s.HostDevice.Name, lent)
	case s.Trunk != nil:
		return slices.ContainsFunc(s.Trunk.VLANs, func(v TrunkVLAN) bool { return w.missing(s.Trunk.Netns, v.Device, lent) })
	}
	return false
}

// missing says whether a namespace lacks an interface. One that cannot be listed lacks none.
func (w *world) missing(netns, link string, lent map[string]bool) bool {
	names, ok := w.names[netns]
	if !ok {
		names = w.list(netns)
		w.names[netns] = names
	}
	return names != nil && !names[link] && !lent[netns+"/"+link]
}

// list are the names of a namespace's interfaces, nil where they cannot be had.
func (w *world) list(netns string) map[string]bool {
	h, err := w.in(netns)
	if err != nil {
		return nil
	}
	links, err := dump.Whole(h.LinkList)
	if err != nil {
		return nil
	}
	names := map[string]bool{}
	for _, l := range links {
		names[l.Attrs().Name] = true
	}
	return names
}
