package exgw

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spklab/spklab/dataplane/api"
)

// Policy is what the controller says of an AdminPolicyBasedExternalRoute.
type Policy struct {
	Name   string                  `json:"name"`
	Status api.ExternalRouteStatus `json:"status"`
}

// hops is what a policy's next hops offer, whatever the namespace.
func (r *resolver) hops(p *api.AdminPolicyBasedExternalRoute) []Candidate {
	object := api.Ref(api.KindExternalRoute, p)
	var out []Candidate
	for i, h := range p.Spec.NextHops.Static {
		out = append(out, Candidate{
			Source: SourcePolicy, Object: object, Address: h.IP.Unmap(), BFD: h.BFDEnabled,
			Conditions: []Condition{{Name: "next hop", OK: true, Object: object, Field: fmt.Sprintf("spec.nextHops.static[%d].ip", i), Text: h.IP.String()}},
		})
	}
	for i := range p.Spec.NextHops.Dynamic {
		out = append(out, r.dynamicHop(object, fmt.Sprintf("spec.nextHops.dynamic[%d]", i), &p.Spec.NextHops.Dynamic[i])...)
	}
	return out
}

// dynamicHop is what the pods offer that a hop chooses.
func (r *resolver) dynamicHop(object, field string, h *api.DynamicHop) []Candidate {
	c := Candidate{Source: SourcePolicy, Object: object, BFD: h.BFDEnabled}
	chosen := Condition{Name: "next hop", OK: true, Object: object, Field: field + ".podSelector"}
	var out []Candidate
	for i := range r.res.Pods {
		p := &r.res.Pods[i]
		if !api.Selects(&h.PodSelector, p.Labels) || !api.Selects(&h.NamespaceSelector, r.labels[p.Namespace]) {
			continue
		}
		c.Pod, chosen.Text = podName(p), "chooses "+podRef(p)
		out = append(out, c.offers(chosen, r.chain(chainKey{p, h.NetworkAttachmentName, field + ".networkAttachmentName", object}))...)
	}
	if len(out) == 0 {
		chosen.OK, chosen.Text = false, "the selectors choose no pod"
		c.Conditions = []Condition{chosen}
		out = append(out, c)
	}
	return out
}

// fromPolicy is what the ith policy offers to a namespace.
func (r *resolver) fromPolicy(i int, namespace string) []Candidate {
	p := &r.res.ExternalRoutes[i]
	labels, known := r.labels[namespace]
	about := Condition{
		Name: "chooses the namespace", OK: known && api.Selects(&p.Spec.From.NamespaceSelector, labels),
		Object: api.Ref(api.KindExternalRoute, p), Field: "spec.from.namespaceSelector",
	}
	if !about.OK {
		about.Text = fmt.Sprintf("it does not match the labels of Namespace %s: %s", namespace, labelText(labels))
		return []Candidate{{Source: SourcePolicy, Object: about.Object, Conditions: []Condition{about}}}
	}
	about.Text = fmt.Sprintf("it matches the labels of Namespace %s", namespace)
	out := slices.Clone(r.policies[i])
	for j := range out {
		out[j].Conditions = append([]Condition{about}, out[j].Conditions...)
	}
	return out
}

func labelText(labels map[string]string) string {
	var out []string
	for k, v := range labels {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return orNone(strings.Join(out, ", "))
}

// status sums up a policy: it fails with what deserves a warning in its hops or in what it offers to
// a namespace. The other hops serve all the same: one pod without a network takes nothing from those
// that have one.
func (r *resolver) status(i int, offered []Candidate) Policy {
	p := &r.res.ExternalRoutes[i]
	out := Policy{Name: p.Name, Status: api.ExternalRouteStatus{Status: api.ExternalRouteSuccess}}
	var addrs []netip.Addr
	for _, c := range slices.Concat(r.policies[i], offered) {
		bad := c.failed()
		if bad != nil && bad.problem {
			message := fmt.Sprintf("Failed to apply policy: %s: %s", bad.Object, bad.Text)
			if !slices.Contains(out.Status.Messages, message) {
				out.Status.Messages = append(out.Status.Messages, message)
			}
		}
		if bad == nil && !slices.Contains(addrs, c.Address) {
			addrs = append(addrs, c.Address)
		}
	}
	if len(out.Status.Messages) > 0 {
		out.Status.Status = api.ExternalRouteFail
		return out
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	out.Status.Messages = []string{"Configured external gateway IPs: " + strings.ReplaceAll(joined(addrs), ", ", ",")}
	return out
}
