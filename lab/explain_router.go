package lab

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/topo"
)

// askRouter follows a path through a router's tables to its kernel.
func (v vip) askRouter(c *chain, router topo.Router, hop netip.Addr) {
	i := slices.IndexFunc(v.ribs, func(r NodeRIB) bool { return r.Node == router.Name })
	if i < 0 || v.ribs[i].Silent != "" {
		why := "no such router"
		if i >= 0 {
			why = v.ribs[i].Silent
		}
		c.ask(false, conditionRouter, router.Name, "state", why)
		return
	}
	c.ask(!refuses(router, v.prefix), conditionRefused, "lab file: router "+router.Name, "refuse", map[bool]string{
		true: "its import filter refuses " + v.prefix.String(), false: "nothing against it",
	}[refuses(router, v.prefix)])
	if !hop.IsValid() {
		return
	}
	rib := v.ribs[i]
	at := func(paths []bgp.Path) int {
		return slices.IndexFunc(paths, func(p bgp.Path) bool { return p.Prefix == v.prefix && p.NextHop == hop })
	}
	received := at(rib.In) >= 0
	c.ask(received, "received", router.Name, "Adj-RIB-In", map[bool]string{true: "next hop " + hop.String(), false: "nobody has told of it"}[received])
	loc := at(rib.Loc)
	c.ask(loc >= 0, "accepted there", router.Name, "Loc-RIB", map[bool]string{true: "a path of its own", false: "refused by the import filter"}[loc >= 0])
	if loc < 0 {
		return
	}
	p := rib.Loc[loc]
	ok, why := chosen(rib, p)
	c.ask(ok, "best there", router.Name, "Loc-RIB", why)
	forwards := rib.Forwards(p)
	c.ask(forwards, "forwarded", router.Name, "kernel routes", map[bool]string{true: "by " + hop.String(), false: "the kernel has no route by " + hop.String()}[forwards])
}

// chosen says whether a router forwards by a path or would, if its kernel took it, and why. Paths as good
// as the best one are used beside it, as many as the router's limit lets.
func chosen(rib NodeRIB, p bgp.Path) (bool, string) {
	if p.Best {
		return true, "best"
	}
	i := slices.IndexFunc(rib.Loc, func(o bgp.Path) bool { return o.Prefix == p.Prefix && o.Best })
	if i < 0 || rib.Forwards(p) {
		return true, "as good as the best"
	}
	best := rib.Loc[i]
	if why := worse(p, best); why != "" {
		return false, fmt.Sprintf("the path by %s is better: %s", best.NextHop, why)
	}
	used := 0
	for _, f := range rib.FIB {
		if f.Prefix == p.Prefix {
			used = len(f.NextHops)
		}
	}
	if used == 0 {
		return true, "as good as the best"
	}
	equal := 0
	for _, o := range rib.Loc {
		if o.Prefix == p.Prefix && worse(o, best) == "" {
			equal++
		}
	}
	return false, fmt.Sprintf("as good as the best, and the router forwards by %d of %d such paths: look at its maximum-paths", used, equal)
}

// worse says by which attribute a path loses to another one (RFC 4271, section 9.1.2), and is empty where it
// does not by these.
func worse(p, than bgp.Path) string {
	value := func(n *uint32, otherwise uint32) uint32 {
		if n == nil {
			return otherwise
		}
		return *n
	}
	origins := map[string]int{"IGP": 0, "EGP": 1, "incomplete": 2}
	const defaultLocalPref = 100
	mine, its := value(p.LocalPref, defaultLocalPref), value(than.LocalPref, defaultLocalPref)
	med, itsMED := value(p.MED, 0), value(than.MED, 0)
	for _, step := range []struct {
		attribute string
		order     int // below 0: p loses
		mine, its any
	}{
		{"local preference", cmp.Compare(mine, its), mine, its},
		{"length of the AS path", cmp.Compare(len(than.ASPath), len(p.ASPath)), len(p.ASPath), len(than.ASPath)},
		{"origin", cmp.Compare(origins[than.Origin], origins[p.Origin]), p.Origin, than.Origin},
		{"MED", cmp.Compare(itsMED, med), med, itsMED},
	} {
		switch {
		case step.order < 0:
			return fmt.Sprintf("%s %v against %v", step.attribute, step.mine, step.its)
		case step.order > 0:
			return ""
		}
	}
	return ""
}
