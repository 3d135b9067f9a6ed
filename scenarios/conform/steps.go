package conform

import (
	"fmt"
	"regexp"
	"strings"
)

// change is one change of objects, the same on both labs.
type change struct {
	name  string
	apply string // manifest
	take  string // name of a policy to delete
	tmms  int    // to scale to
}

// Addresses of the second project's gateways: the self-IPs of the spk topology's TMMs.
const (
	firstGateway  = "10.144.100.16,fd00:10:144:100::16"
	secondGateway = "10.144.100.17,fd00:10:144:100::17"
	bothGateways  = firstGateway + "," + secondGateway
)

// changes lead through what changes external gateways, and end where they began but for a project
// without gateways.
func changes() []change {
	const pod = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: conform-pod, namespace: conform}\nspec:\n  nodeName: worker-1\n" +
		"  containers: [{name: app, image: spklab/app, ports: [{containerPort: 8080, protocol: TCP}]}]\n"
	return []change{
		{name: "the lab as it is brought up"},
		{name: "a project without gateways", apply: namespace("") + pod},
		{name: "its annotation names two", apply: namespace(bothGateways)},
		{name: "its annotation names one", apply: namespace(firstGateway)},
		{name: "one bad address", apply: namespace(firstGateway + ",nowhere")},
		{name: "two again", apply: namespace(bothGateways)},
		{name: "a policy with the same two besides", apply: policy(bothGateways, false)},
		{name: "the policy alone", apply: namespace("")},
		{name: "the policy asks for BFD", apply: policy(bothGateways, true)},
		{name: "no policy", take: "conform"},
		{name: "a third TMM", tmms: 3},
		{name: "two TMMs", tmms: 2},
	}
}

// namespace is the project's with an annotation that names gateways.
func namespace(gateways string) string {
	text := "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: conform\n  labels: {project: conform}\n"
	if gateways != "" {
		text += "  annotations: {k8s.ovn.org/routing-external-gws: \"" + gateways + "\"}\n"
	}
	return text
}

// policy chooses the project and names gateways.
func policy(gateways string, bfd bool) string {
	var hops []string
	for _, a := range strings.Split(gateways, ",") {
		hops = append(hops, fmt.Sprintf("{ip: %q, bfdEnabled: %t}", a, bfd))
	}
	return "apiVersion: k8s.ovn.org/v1\nkind: AdminPolicyBasedExternalRoute\nmetadata: {name: conform}\nspec:\n" +
		"  from: {namespaceSelector: {matchLabels: {project: conform}}}\n  nextHops: {static: [" + strings.Join(hops, ", ") + "]}\n"
}

// selected are the changes whose names match; an empty expression matches all.
func selected(expression string) ([]change, error) {
	re, err := regexp.Compile(expression)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	var out []change
	for _, c := range changes() {
		if re.MatchString(c.name) {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: no change is called %q", ErrOptions, expression)
	}
	return out, nil
}
