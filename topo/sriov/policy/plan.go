package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/topo/sriov"
)

// Plan is what a node is to become. With Problems nothing of it should be made.
type Plan struct {
	Node     string
	Ports    []PortPlan // those that a policy chooses, by PCI address
	Pools    []Pool     // by resource
	Problems []Problem
	Notes    []Problem // what is done otherwise than a policy says
	// Unmatched are policies for the node that choose no PF of it, with the reasons.
	Unmatched []Problem
}

// PortPlan is what a PF is to become.
type PortPlan struct {
	Port     Port
	Policies []string // that have VFs of it, the winning one first
	Target   sriov.Target
	Changes  []string // one line each; none: all is as wanted
}

// Pool is the VFs of a resource on one node.
type Pool struct {
	Resource string   `json:"resource"` // openshift.io/NAME, as NetworkAttachmentDefinitions name it
	VFs      []string `json:"vfs"`      // PCI addresses, in the order of PFs and indexes
	VFIO     bool     `json:"vfio,omitempty"`
}

// Problem is a policy that cannot be done, or not as it says.
type Problem struct {
	Object  string `json:"object"` // SriovNetworkNodePolicy namespace/name
	Message string `json:"message"`
}

// String is OBJECT: MESSAGE.
func (p Problem) String() string { return p.Object + ": " + p.Message }

// group is what one policy says of one port.
type group struct {
	policy      *api.SriovNetworkNodePolicy
	first, last int
	named       bool // by pfNames
}

func (g *group) ref() string { return ref(g.policy) }

func ref(p *api.SriovNetworkNodePolicy) string { return api.Ref(api.KindSriovPolicy, p) }

func (g *group) resource() string { return api.ResourcePrefix + "/" + g.policy.Spec.ResourceName }

func (g *group) vfio() bool { return g.policy.Spec.DeviceType == api.DeviceVFIO }

func (g *group) overlaps(o *group) bool { return g.first <= o.last && o.first <= g.last }

// ForAll says what policies make of nodes. A policy has to choose a PF of at least one of the nodes that it
// is for; the problem stands in the plan of the first of them. One that is for no node is noted there.
func ForAll(nodes []Node, policies []api.SriovNetworkNodePolicy) []Plan {
	var out []Plan
	for i := range nodes {
		out = append(out, For(nodes[i], policies))
	}
	for i := range policies {
		p := &policies[i]
		first, matched := -1, false
		var why []string
		for k := range nodes {
			if !nodes[k].selected(p) {
				continue
			}
			if first < 0 {
				first = k
			}
			at := slices.IndexFunc(out[k].Unmatched, func(u Problem) bool { return u.Object == ref(p) })
			if matched = matched || at < 0; at >= 0 {
				why = append(why, out[k].Unmatched[at].Message)
			}
		}
		switch {
		case first < 0 && len(out) > 0:
			out[0].Notes = append(out[0].Notes, Problem{ref(p), fmt.Sprintf("its nodeSelector %v chooses no node", p.Spec.NodeSelector)})
		case first >= 0 && !matched:
			out[first].Problems = append(out[first].Problems, Problem{ref(p), "its nicSelector chooses no PF: " + strings.Join(why, "; ")})
		}
	}
	return out
}

// For says what policies make of a node. The result does not depend on their order.
func For(n Node, policies []api.SriovNetworkNodePolicy) Plan {
	b := planner{plan: Plan{Node: n.Name}, pools: map[string]*Pool{}}
	ports := slices.Clone(n.Ports)
	slices.SortFunc(ports, func(a, c Port) int { return strings.Compare(a.Address, c.Address) })
	var chosen []*api.SriovNetworkNodePolicy
	for i := range policies {
		if n.selected(&policies[i]) {
			chosen = append(chosen, &policies[i])
		}
	}
	// The operator lets later ones override: high numbers first, and of one number by name.
	slices.SortFunc(chosen, func(a, c *api.SriovNetworkNodePolicy) int {
		return cmp.Or(cmp.Compare(a.Spec.Priority, c.Spec.Priority), strings.Compare(c.Name, a.Name), strings.Compare(c.Namespace, a.Namespace))
	})
	for _, p := range chosen {
		b.choosesSome(p, ports)
	}
	for i := range ports {
		b.port(&ports[i], chosen)
	}
	for _, p := range b.pools {
		b.plan.Pools = append(b.plan.Pools, *p)
	}
	slices.SortFunc(b.plan.Pools, func(a, c Pool) int { return strings.Compare(a.Resource, c.Resource) })
	return b.plan
}

type planner struct {
	plan  Plan
	pools map[string]*Pool
}

func (b *planner) bad(object, format string, args ...any) {
	b.plan.Problems = append(b.plan.Problems, Problem{object, fmt.Sprintf(format, args...)})
}

func (b *planner) note(object, format string, args ...any) {
	b.plan.Notes = append(b.plan.Notes, Problem{object, fmt.Sprintf(format, args...)})
}

// choosesSome notes why a policy chooses no PF, if it does not.
func (b *planner) choosesSome(p *api.SriovNetworkNodePolicy, ports []Port) {
	var why []string
	for i := range ports {
		m := mismatch(&p.Spec.NICSelector, &ports[i])
		if m == "" {
			return
		}
		why = append(why, ports[i].label()+": "+m)
	}
	if why == nil {
		why = []string{"it has no PF"}
	}
	b.plan.Unmatched = append(b.plan.Unmatched, Problem{ref(p), b.plan.Node + ": " + strings.Join(why, "; ")})
}

// port combines the policies that choose a port; policies stand with the winning one first.
func (b *planner) port(p *Port, policies []*api.SriovNetworkNodePolicy) {
	var groups []group
	for _, pol := range policies {
		if mismatch(&pol.Spec.NICSelector, p) != "" {
			continue
		}
		g := group{policy: pol, last: pol.Spec.NumVFs - 1}
		if name := pfName(&pol.Spec.NICSelector, p); name != nil {
			g.named = true
			if name.Ranged {
				g.first, g.last = name.First, name.Last
			}
		}
		if b.admit(p, &g, groups) {
			groups = append(groups, g)
		}
	}
	if len(groups) == 0 {
		return
	}
	before := len(b.plan.Problems)
	out := PortPlan{Port: *p, Target: b.target(p, groups)}
	for i := range groups {
		out.Policies = append(out.Policies, groups[i].ref())
		b.check(p, &groups[i], out.Target)
	}
	b.checkPort(p, &groups[0], out.Target)
	if len(b.plan.Problems) == before {
		out.Changes = out.Target.Changes(&p.PF)
		b.pool(p, groups)
	}
	b.plan.Ports = append(b.plan.Ports, out)
}

// admit says whether a policy's VFs find a place beside those of the policies that win over it.
func (b *planner) admit(p *Port, g *group, winners []group) bool {
	for i := range winners {
		w := &winners[i]
		equal := w.policy.Spec.Priority == g.policy.Spec.Priority
		switch {
		case w.policy.Spec.ExternallyManaged != g.policy.Spec.ExternallyManaged:
			b.bad(g.ref(), "PF %s is externallyManaged: %t here and %t in %s; write the same in both",
				p.label(), g.policy.Spec.ExternallyManaged, w.policy.Spec.ExternallyManaged, w.ref())
			return false
		case !g.overlaps(w):
		case equal || g.named && w.named:
			b.bad(g.ref(), "VFs %d to %d of PF %s overlap VFs %d to %d of %s; write ranges apart%s",
				g.first, g.last, p.label(), w.first, w.last, w.ref(), apart(p, g, w))
			return false
		default:
			b.note(g.ref(), "is left out on PF %s: %s wins with priority %d over %d and has VFs %d to %d",
				p.label(), w.ref(), w.policy.Spec.Priority, g.policy.Spec.Priority, w.first, w.last)
			return false
		}
		if w.policy.Spec.ResourceName == g.policy.Spec.ResourceName {
			b.note(g.ref(), "is left out on PF %s: %s has the same resourceName there and wins", p.label(), w.ref())
			return false
		}
	}
	return true
}

// apart is where a group finds a place behind another one, as far as the PF has so many VFs.
func apart(p *Port, g, w *group) string {
	first := w.last + 1
	last := first + g.last - g.first
	if last >= p.TotalVFs {
		return fmt.Sprintf(" within VFs 0 to %d, which is all that it can have", p.TotalVFs-1)
	}
	called := p.Name
	if n := pfName(&g.policy.Spec.NICSelector, p); n != nil {
		called = n.Name
	}
	hint := fmt.Sprintf(": pfNames: [%s#%d-%d]", called, first, last)
	if last >= g.policy.Spec.NumVFs {
		hint += fmt.Sprintf(" and numVfs: %d", last+1)
	}
	return hint
}

// target is what the policies together make of a port: the winning one's settings, and the most VFs and
// the largest MTU of all.
func (b *planner) target(p *Port, groups []group) sriov.Target {
	t := sriov.Target{Address: p.Address, External: groups[0].policy.Spec.ExternallyManaged}
	for i := range groups {
		t.NumVFs = max(t.NumVFs, groups[i].policy.Spec.NumVFs)
		t.MTU = max(t.MTU, groups[i].policy.Spec.MTU)
	}
	if t.External {
		t.NumVFs, t.MTU = p.NumVFs, 0
	}
	for i := range groups {
		g := &groups[i]
		for v := g.first; v <= g.last; v++ {
			address, _ := p.VFAddress(v) // pool says what is wrong with it
			t.VFs = append(t.VFs, sriov.VFTarget{Index: v, VFIO: g.vfio(), MTU: g.policy.Spec.MTU, Address: address, Resource: g.resource()})
		}
	}
	slices.SortFunc(t.VFs, func(a, c sriov.VFTarget) int { return a.Index - c.Index })
	return t
}

// check asks of one policy that the port can do it.
func (b *planner) check(p *Port, g *group, t sriov.Target) {
	s := &g.policy.Spec
	switch {
	case s.NumVFs > p.TotalVFs:
		b.bad(g.ref(), "numVfs: %d, and PF %s can have %d (sriov_totalvfs); write at most that", s.NumVFs, p.label(), p.TotalVFs)
	case p.MaxVFs > 0 && s.NumVFs > p.MaxVFs:
		b.bad(g.ref(), "numVfs: %d, and the inventory allows %d of PF %s; write at most that", s.NumVFs, p.MaxVFs, p.label())
	case t.External && s.NumVFs > p.NumVFs:
		b.bad(g.ref(), "numVfs: %d, and PF %s has %d; with externallyManaged somebody else makes them first", s.NumVFs, p.label(), p.NumVFs)
	}
	switch {
	case p.MaxMTU > 0 && s.MTU > p.MaxMTU:
		b.bad(g.ref(), "mtu: %d, and the inventory allows %d of PF %s; write at most that", s.MTU, p.MaxMTU, p.label())
	case t.External && s.MTU > p.MTU:
		b.bad(g.ref(), "mtu: %d, and PF %s has %d; with externallyManaged somebody else sets it first", s.MTU, p.label(), p.MTU)
	}
	if s.LinkType != "" && p.LinkType != "" && !strings.EqualFold(s.LinkType, p.LinkType) {
		b.bad(g.ref(), "linkType: %s, and PF %s is %s, which its firmware's tool changes; write linkType: %s",
			s.LinkType, p.label(), p.LinkType, strings.ToLower(p.LinkType))
	}
	if mode := cmp.Or(s.ESwitchMode, "legacy"); mode != cmp.Or(p.ESwitchMode, "legacy") {
		b.bad(g.ref(), "eSwitchMode: %s, and PF %s is in %s; change it first: devlink dev eswitch set pci/%s mode %s",
			mode, p.label(), cmp.Or(p.ESwitchMode, "legacy"), p.Address, mode)
	}
}

// checkPort asks that the port may be changed: not at all where the node is reached by it.
func (b *planner) checkPort(p *Port, winner *group, t sriov.Target) {
	if t.External {
		return
	}
	err := t.Admissible(&p.PF)
	switch {
	case t.NumVFs > p.TotalVFs: // has been said
	case p.Forbidden != "" && len(t.Changes(&p.PF)) > 0:
		b.bad(winner.ref(), "PF %s is not to be touched: %s", p.label(), p.Forbidden)
	case err != nil:
		b.bad(winner.ref(), "%v", err)
	}
}

// pool gives the VFs of a port to their resources.
func (b *planner) pool(p *Port, groups []group) {
	for i := range groups {
		g := &groups[i]
		pool := b.pools[g.resource()]
		if pool == nil {
			pool = &Pool{Resource: g.resource(), VFIO: g.vfio()}
			b.pools[g.resource()] = pool
		}
		if pool.VFIO != g.vfio() {
			b.bad(g.ref(), "resource %s has VFs of both device types; write one deviceType for one resourceName", g.resource())
			continue
		}
		for v := g.first; v <= g.last; v++ {
			a, err := p.VFAddress(v)
			if err != nil {
				b.bad(g.ref(), "%v", err)
				return
			}
			pool.VFs = append(pool.VFs, a)
		}
	}
}
