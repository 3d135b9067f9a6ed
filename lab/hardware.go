package lab

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/topo/sriov"
	"github.com/spklab/spklab/topo/sriov/policy"
)

// labelCapable is what node feature discovery puts on nodes with SR-IOV cards, and what the
// nodeSelector of most policies asks for.
const labelCapable = "feature.node.kubernetes.io/network-sriov.capable"

// UseHardware has the lab use the cards of an inventory, which has to fit the lab and the machine.
func (s *Source) UseHardware(h *topo.Hardware, host topo.Host) error {
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("find host name: %w", err)
	}
	if err := h.Fits(s.Spec, hostname); err != nil {
		return err
	}
	if s.Inventory, err = host.Cards(); err != nil {
		return err
	}
	s.Hardware, err = h.On(s.Inventory)
	return err
}

// inventory is what the machine has of cards, empty for a lab that uses none.
func (l *Lab) inventory() (sriov.Inventory, error) {
	if l.cards == nil {
		return sriov.Inventory{}, nil
	}
	return l.opt.Host.Cards()
}

// Unenforced says what the lab's VFs are set to that their cards keep without acting on it, a line a VF in the order
// of making; empty for a lab without VFs.
func (l *Lab) Unenforced() ([]string, error) {
	steps, err := l.rt.Applied()
	if err != nil || !slices.ContainsFunc(steps, func(s topo.Step) bool { return s.VF != nil }) {
		return nil, err
	}
	inv, err := l.opt.Host.Cards()
	return unenforced(steps, &inv), err
}

func unenforced(steps []topo.Step, inv *sriov.Inventory) []string {
	var out []string
	for _, s := range steps {
		if s.VF == nil {
			continue
		}
		var kept []string
		for _, set := range sriov.Settings() {
			if pf := inv.Holder(s.VF.Address); pf != nil && s.VF.Settings.Sets(string(set)) && !inv.Enforces(pf, set) {
				kept = append(kept, string(set))
			}
		}
		if len(kept) > 0 {
			out = append(out, fmt.Sprintf("%s in %s (%s): %s: %s", s.VF.Name, s.VF.Netns, s.VF.Address, strings.Join(kept, ", "), sriov.ConfiguredOnly))
		}
	}
	return out
}

// cardPlans are what the policies make of the cards of each worker that has some.
func cardPlans(spec *topo.Lab, hw *topo.Hardware, inv sriov.Inventory, res api.Resources) []policy.Plan {
	if hw == nil {
		return nil
	}
	var nodes []policy.Node
	for _, n := range machines(spec) {
		node := policy.Node{Name: n.Name, Labels: maps.Clone(n.Labels)}
		for _, c := range hw.PFs {
			pf := inv.Find(c.PF)
			if c.Worker != n.Name || pf == nil {
				continue
			}
			port := policy.Port{PF: *pf, As: c.As, NetFilter: c.NetFilter, MaxVFs: c.MaxVFs, MaxMTU: c.MaxMTU}
			node.Ports = append(node.Ports, port)
		}
		if len(node.Ports) == 0 {
			continue
		}
		if node.Labels == nil {
			node.Labels = map[string]string{}
		}
		node.Labels[labelCapable] = "true"
		nodes = append(nodes, node)
	}
	return policy.ForAll(nodes, res.SriovPolicies)
}

// cardFindings are what the policies cannot do, and do otherwise than they say.
func cardFindings(plans []policy.Plan, hw *topo.Hardware, res api.Resources) []api.Finding {
	var out []api.Finding
	if hw == nil {
		for i := range res.SriovPolicies {
			out = append(out, api.Finding{
				Severity: api.SeverityWarning, Object: api.Ref(api.KindSriovPolicy, &res.SriovPolicies[i]),
				Message: "no VFs are made: the lab uses no card of this machine", Hint: "--backend hil -i INVENTORY, see hil/sample.yml",
			})
		}
		return out
	}
	out = append(out, idleCards(plans, hw)...)
	for _, p := range plans {
		for _, x := range p.Problems {
			out = append(out, api.Finding{Severity: api.SeverityError, Object: x.Object, Message: x.Message})
		}
		for _, x := range p.Notes {
			out = append(out, api.Finding{Severity: api.SeverityWarning, Object: x.Object, Message: x.Message})
		}
	}
	return out
}

// idleCards names the cards of workers of which no policy makes VFs.
func idleCards(plans []policy.Plan, hw *topo.Hardware) []api.Finding {
	chosen := map[string]bool{}
	for _, plan := range plans {
		for _, p := range plan.Ports {
			chosen[p.Target.Address] = true
		}
	}
	var out []api.Finding
	for i, c := range hw.PFs {
		if c.Worker != "" && !chosen[c.PF] {
			out = append(out, api.Finding{
				Severity: api.SeverityWarning, Object: fmt.Sprintf("%s: pfs[%d]", hw.File, i),
				Message: fmt.Sprintf("no SriovNetworkNodePolicy of the lab makes VFs of %s for %s", cmp.Or(c.As, c.PF), c.Worker),
				Hint:    "mend the nicSelector or nodeSelector of one, or take the card out",
			})
		}
	}
	return out
}

// cardSteps are the VFs that the policies ask for, and the cards that are ports of the lab's switch.
func cardSteps(spec *topo.Lab, hw *topo.Hardware, plans []policy.Plan) ([]topo.Step, error) {
	var steps []topo.Step
	var errs []error
	for _, plan := range plans {
		for _, x := range plan.Problems {
			errs = append(errs, errors.New(x.String()))
		}
		for _, p := range plan.Ports {
			steps = append(steps, topo.Step{PF: &topo.PFStep{Target: p.Target, Name: p.Port.Name, Worker: plan.Node, Changes: p.Changes}})
		}
	}
	if hw == nil {
		return nil, nil
	}
	for _, c := range hw.PFs {
		if !c.Uplink {
			continue
		}
		steps = append(steps, topo.UplinkSteps(spec, c)...)
	}
	return steps, errors.Join(errs...)
}
