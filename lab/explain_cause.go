package lab

import (
	"net/netip"
	"slices"

	"github.com/spklab/spklab/ovnsim/exgw"
)

// Names of the conditions of a VIPWay that do not follow from earlier ones: each can fail by itself.
const (
	conditionServing  = "serving"
	conditionAccepted = "accepted"
	conditionBGP      = "BGP"
	conditionFamily   = "family" // the neighbor takes routes of the address's
	conditionRouteMap = "route map"
	conditionWanted   = "to be announced"
	conditionSession  = "session"
	conditionRouter   = "router"
	conditionRefused  = "permitted there"
	conditionBFD      = "BFD"
)

// independent says whether a condition can fail by itself when an earlier one does. That nothing is to be
// announced does, for instance, follow from there being no endpoint.
func independent(name string) bool {
	return slices.Contains([]string{
		conditionServing, conditionAccepted, conditionBGP, conditionFamily, conditionRouteMap, conditionSession, conditionRouter, conditionRefused, conditionBFD,
	}, name)
}

// chain are conditions, each asked when those before it hold. Once one does not, only what fails by itself
// is added.
type chain []exgw.Condition

func (c *chain) ask(ok bool, name, object, field, text string) bool {
	if !allHold(*c) && (ok || !independent(name)) {
		return false
	}
	*c = append(*c, exgw.Condition{Name: name, OK: ok, Object: object, Field: field, Text: text})
	return ok
}

// VIPCause is a condition that fails by itself, with the ways that end by it.
type VIPCause struct {
	exgw.Condition
	Ways []string `json:"ways,omitempty"` // "TMM to neighbor"; none: the resource itself
}

// causesOf are the causes of all resources. A neighbor that does not take the address's family is none as long
// as the TMM has another one that does, or one with an address of that family that should.
func causesOf(resources []VIPResource) []VIPCause {
	out := []VIPCause{}
	add := func(c exgw.Condition, way string) {
		i := slices.IndexFunc(out, func(have VIPCause) bool { return have.Condition == c })
		if i < 0 {
			i = len(out)
			out = append(out, VIPCause{Condition: c})
		}
		if way != "" {
			out[i].Ways = append(out[i].Ways, way)
		}
	}
	for i := range resources {
		r := &resources[i]
		for _, c := range r.Conditions {
			if !c.OK {
				add(c, "")
			}
		}
		for j := range r.Ways {
			w := &r.Ways[j]
			if !w.Takes() && (r.taken(w.TMM) || !w.fits(r.Prefix) && r.fitting(w.TMM)) {
				continue
			}
			failed := !r.OK()
			for _, c := range w.Conditions {
				if !c.OK && (independent(c.Name) || !failed) {
					add(c, w.String())
				}
				failed = failed || !c.OK
			}
		}
	}
	return out
}

// taken says whether a TMM has a neighbor that takes the address's family.
func (r *VIPResource) taken(tmm string) bool {
	return slices.ContainsFunc(r.Ways, func(w VIPWay) bool { return w.TMM == tmm && w.Neighbor.IsValid() && w.Takes() })
}

// fits says whether the neighbor's own address is of a prefix's family.
func (w *VIPWay) fits(prefix netip.Prefix) bool {
	return w.Neighbor.IsValid() && w.Neighbor.Is4() == prefix.Addr().Is4()
}

// fitting says whether a TMM has a neighbor with an address of the prefix's family.
func (r *VIPResource) fitting(tmm string) bool {
	return slices.ContainsFunc(r.Ways, func(w VIPWay) bool { return w.TMM == tmm && w.fits(r.Prefix) })
}

// String is "TMM to neighbor", with the router where it is one of the lab's.
func (w *VIPWay) String() string {
	to := w.Neighbor.String()
	if w.Router != "" {
		to = w.Router + ", " + to
	}
	if !w.Neighbor.IsValid() {
		to = "its neighbors"
	}
	return w.TMM + " to " + to
}
