package topo

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Plan is a list of steps in the order of making: stage after stage, the steps of one stage
// independent of each other. The zero value is the empty plan.
type Plan struct {
	Stages []Stage `json:"stages"`
}

// Stage is a set of steps that may be made at the same time, sorted by their lines.
type Stage struct {
	Name  string `json:"name"`
	Steps []Step `json:"steps"`
}

// NewPlan orders steps into stages. Equal steps count once.
func NewPlan(steps []Step) Plan {
	type ranked struct {
		rank int
		line string
		step Step
	}
	all := make([]ranked, 0, len(steps))
	for _, s := range steps {
		all = append(all, ranked{s.rank(), s.String(), s})
	}
	slices.SortStableFunc(all, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), strings.Compare(a.line, b.line))
	})
	all = slices.CompactFunc(all, func(a, b ranked) bool { return a.line == b.line })
	var p Plan
	last := -1
	for _, r := range all {
		if r.rank != last {
			p.Stages = append(p.Stages, Stage{Name: stageName(r.rank)})
			last = r.rank
		}
		st := &p.Stages[len(p.Stages)-1]
		st.Steps = append(st.Steps, r.step)
	}
	return p
}

// Steps returns every step in order.
func (p Plan) Steps() []Step {
	var out []Step
	for _, st := range p.Stages {
		out = append(out, st.Steps...)
	}
	return out
}

// String is one line a step, in order.
func (p Plan) String() string {
	var b strings.Builder
	for _, s := range p.Steps() {
		b.WriteString(s.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// The stages, in order. Sysctls of a namespace come before its interfaces, which inherit them;
// routes onto a link come before the routes that need it to reach their gateway.
const (
	rankNetns = iota
	rankPF
	rankSysctl
	rankVF // before the pins of what is attached to it, which are undone first
	rankFile
	rankPins
	rankBridge
	rankVeth
	rankTrunk
	rankMacvlan
	rankLink
	rankLinkSysctl
	rankAddr
	rankLinkRoute
	rankRoute
	rankInner   // a macvlan on an interface of its own namespace, which may be one with its routes
	rankProcess // plus the process's Order
)

func stageName(rank int) string {
	names := [...]string{"namespaces", "cards", "sysctls", "virtual functions", "files", "pins", "bridges", "cables", "trunks", "macvlans",
		"interfaces", "interface sysctls", "addresses", "link routes", "routes", "inner macvlans"}
	if rank >= rankProcess {
		return fmt.Sprintf("processes %d", rank-rankProcess)
	}
	return names[rank]
}

// rank is the stage that a step belongs to.
func (s Step) rank() int {
	switch {
	case s.Netns != nil:
		return rankNetns
	case s.PF != nil:
		return rankPF
	case s.Sysctl != nil && s.Sysctl.link() != "":
		return rankLinkSysctl
	case s.Sysctl != nil:
		return rankSysctl
	case s.VF != nil:
		return rankVF
	case s.File != nil:
		return rankFile
	case s.Pins != nil:
		return rankPins
	case s.Bridge != nil:
		return rankBridge
	case s.Veth != nil, s.Uplink != nil:
		return rankVeth
	case s.Macvlan != nil && s.Macvlan.Netns == s.Macvlan.ParentNetns:
		return rankInner
	case s.Trunk != nil:
		return rankTrunk
	case s.Macvlan != nil, s.HostDevice != nil:
		return rankMacvlan
	case s.Link != nil:
		return rankLink
	case s.Addr != nil:
		return rankAddr
	case s.Route != nil && !s.Route.Via.IsValid():
		return rankLinkRoute
	case s.Route != nil:
		return rankRoute
	}
	if s.Process != nil {
		return rankProcess + max(s.Process.Order, 0)
	}
	return rankFile
}

// link is the interface that a sysctl belongs to, empty for those of the whole namespace:
// net.FAMILY.conf.LINK.KEY and net.FAMILY.neigh.LINK.KEY.
func (s *SysctlStep) link() string {
	parts := strings.Split(s.Key, ".")
	if len(parts) < 5 || (parts[2] != "conf" && parts[2] != "neigh") {
		return ""
	}
	if parts[3] == "all" || parts[3] == "default" {
		return ""
	}
	return strings.Join(parts[3:len(parts)-1], ".")
}
