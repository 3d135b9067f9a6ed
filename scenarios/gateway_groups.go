package scenarios

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/spklab/spklab/scenarios/report"
)

// GatewayGroup is one group of what is asked of external gateways, with the entries that hold it.
type GatewayGroup struct {
	Name   string
	Filter string // selects its entries by their labels, in the words of --label-filter
}

// GatewayGroups are the groups of OVN-Kubernetes' tests of external gateways.
func GatewayGroups() []GatewayGroup {
	const policy = "(policy-static || policy-dynamic)"
	return []GatewayGroup{
		{"namespace annotation: connectivity", "namespace-annotation && connectivity"},
		{"namespace annotation: update to a new gateway", "namespace-annotation && connectivity"},
		{"namespace annotation: ingress from the gateway to the pod", "namespace-annotation && ingress"},
		{"gateway pod: ICMP to its loopback", "gateway-pod && loopback"},
		{"gateway pod: TCP and UDP", "gateway-pod && connectivity"},
		{"two gateways: ICMP by ECMP", "(gateway-pod || namespace-annotation) && ecmp && icmp"},
		{"two gateways: TCP and UDP by ECMP", "(gateway-pod || namespace-annotation) && ecmp && (tcp || udp)"},
		{"stale conntrack: namespace annotation", "namespace-annotation && conntrack && update"},
		{"stale conntrack: gateway pod annotation updated", "gateway-pod && conntrack && update"},
		{"stale conntrack: gateway pod deleted", "gateway-pod && conntrack && delete"},
		{"stale conntrack: gateway pod with deletionTimestamp", "gateway-pod && conntrack && terminating"},
		{"stale conntrack: gateway pod not ready", "gateway-pod && conntrack && not-ready"},
		{"BFD: gateway pod", "gateway-pod && bfd"},
		{"BFD: two gateways", "(gateway-pod || namespace-annotation) && bfd"},
		{"BFD: one of two is killed, the pod stays connected", "(gateway-pod || namespace-annotation) && bfd"},
		{"policy: connectivity by static hops", "policy-static && connectivity"},
		{"policy: ingress from the gateway to the pod", policy + " && ingress"},
		{"policy: ICMP to the loopback of a dynamic hop", "policy-dynamic && loopback"},
		{"policy: TCP and UDP by dynamic hops", "policy-dynamic && connectivity"},
		{"policy: ICMP by ECMP", policy + " && ecmp && icmp"},
		{"policy: TCP and UDP by ECMP", policy + " && ecmp && (tcp || udp)"},
		{"policy: stale conntrack, static hops", "policy-static && conntrack && update"},
		{"policy: stale conntrack, dynamic hops", "policy-dynamic && conntrack && (update || delete || terminating || not-ready)"},
		{"policy: BFD", policy + " && bfd"},
		{"policy: the gateway's MAC changes while egress goes on", policy + " && mac"},
		{"migration from annotation to policy without a lost packet", "migration"},
		{"conntrack unchanged when one of two sources goes", "two-sources"},
		{"policy: status Success and Fail", "status"},
	}
}

// FieldGroups are what goes wrong in the field besides.
func FieldGroups() []GatewayGroup {
	return []GatewayGroup{
		{"each of two gateway pods is answered through itself", "gateway-pod && ingress"},
		{"a gateway restarts with a new MAC", "restart"},
		{"the controller is down while a TMM goes", "controller"},
		{"two gateways with one IP; one bad IP in the namespace annotation", "address"},
		{"gateways of one family", "family"},
		{"no common family", "no-common-family"},
		{"a dead gateway without BFD", "dead"},
	}
}

// GatewayRun is one way in which the entries run.
type GatewayRun struct {
	Name   string
	Filter string // of the chapter's entries, empty: all
}

// GatewayRuns are what the tests run: everything on the default profile and over OVN itself, and what
// profiles change on the others.
func GatewayRuns() []GatewayRun {
	const changed = "ecmp || symmetry || dead || update"
	return []GatewayRun{{"sim spk", ""}, {"sim ovn-23.03", changed}, {"sim ovn-25.03", changed}, {"real OVN 23.03", ""}}
}

// LabelFilter selects what the run runs, in the words of --label-filter.
func (r GatewayRun) LabelFilter() string {
	if r.Filter == "" {
		return "exgw"
	}
	return "exgw && (" + r.Filter + ")"
}

// Entries are the names of the entries of a group that a run has.
func (g GatewayGroup) Entries(r GatewayRun) ([]string, error) {
	in, err := types.ParseLabelFilter("(" + g.Filter + ") && " + r.LabelFilter())
	if err != nil {
		return nil, fmt.Errorf("filter of %q: %w", g.Name, err)
	}
	var out []string
	for _, s := range externalGateways() {
		if in(s.labels) {
			out = append(out, s.name)
		}
	}
	return out, nil
}

// Unproven are the entries that the run should have had and that neither passed nor were skipped by
// name, each with its group.
func (r GatewayRun) Unproven(run report.Run) ([]string, error) {
	var out []string
	for _, g := range slices.Concat(GatewayGroups(), FieldGroups()) {
		entries, err := g.Entries(r)
		if err != nil {
			return nil, err
		}
		for _, name := range entries {
			if !slices.ContainsFunc(run.Scenarios, func(s report.Scenario) bool {
				return s.Name == name && (s.State == report.Passed || s.State == report.Skipped)
			}) {
				out = append(out, g.Name+": "+name)
			}
		}
	}
	return out, nil
}

// WriteGatewayGroups writes the table of groups and entries as Markdown.
func WriteGatewayGroups(w io.Writer) error {
	runs := GatewayRuns()
	write := func(title string, groups []GatewayGroup) error {
		fmt.Fprintf(w, "\n## %s\n\n| | group | label filter |", title)
		for _, r := range runs {
			fmt.Fprintf(w, " %s |", r.Name)
		}
		fmt.Fprint(w, "\n|---|---|---|")
		for range runs {
			fmt.Fprint(w, "---|")
		}
		for i, g := range groups {
			fmt.Fprintf(w, "\n| %d | %s | `%s` |", i+1, g.Name, strings.ReplaceAll(g.Filter, "|", `\|`))
			for _, r := range runs {
				entries, err := g.Entries(r)
				if err != nil {
					return err
				}
				fmt.Fprintf(w, " %d |", len(entries))
			}
		}
		fmt.Fprintln(w)
		return nil
	}
	if err := write("OVN-Kubernetes' list", GatewayGroups()); err != nil {
		return err
	}
	return write("From the field", FieldGroups())
}
