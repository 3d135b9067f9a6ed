package scenarios

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/kubesim"
	"github.com/spklab/spklab/lab"
)

// origin is a way in which a project gets its gateways.
type origin struct {
	name, label string
	// declare makes these gateways, and no others, the project's by this origin; none takes
	// everything back.
	declare func(p *project, ctx context.Context, bfd bool, gateways []gateway) error
}

// The origins.
func byNamespace() origin {
	return origin{"namespace annotation", "namespace-annotation", (*project).annotateNamespace}
}
func byPods() origin {
	return origin{"gateway pod annotation", "gateway-pod", (*project).annotateGateways}
}
func byStatic() origin {
	return origin{"policy with static hops", "policy-static", func(p *project, ctx context.Context, bfd bool, gateways []gateway) error {
		return p.policy(ctx, len(gateways) > 0, staticHops(bfd, gateways))
	}}
}
func byDynamic() origin {
	return origin{"policy with dynamic hops", "policy-dynamic", func(p *project, ctx context.Context, bfd bool, gateways []gateway) error {
		return p.policy(ctx, len(gateways) > 0, p.dynamicHops(bfd, gateways))
	}}
}

func allOrigins() []origin { return []origin{byNamespace(), byPods(), byStatic(), byDynamic()} }

func (p *project) annotateNamespace(ctx context.Context, bfd bool, gateways []gateway) error {
	annotations := map[string]string{}
	if len(gateways) > 0 {
		annotations[api.AnnotationExternalGateways] = addresses(gateways, ",")
		if bfd {
			annotations[api.AnnotationBFD] = "true"
		}
	}
	return p.put(ctx, p.namespace(annotations))
}

// addresses of gateways, of both families.
func addresses(gateways []gateway, separator string) string {
	var out []string
	for _, g := range gateways {
		for _, a := range g.addrs {
			out = append(out, a.String())
		}
	}
	return strings.Join(out, separator)
}

func (p *project) annotateGateways(ctx context.Context, bfd bool, gateways []gateway) error {
	var docs []string
	for _, g := range p.gateways {
		annotations := map[string]string{}
		if slices.ContainsFunc(gateways, func(o gateway) bool { return o.number == g.number }) {
			annotations[api.AnnotationRoutingNamespaces] = projectNamespace
			annotations[api.AnnotationRoutingNetwork] = p.network
			if bfd {
				annotations[api.AnnotationBFD] = "true"
			}
		}
		docs = append(docs, p.gatewayManifest(g, annotations))
	}
	return p.put(ctx, strings.Join(docs, "---\n"))
}

// policy applies the project's policy with these next hops, or deletes it.
func (p *project) policy(ctx context.Context, there bool, hops string) error {
	if !there {
		err := p.s.lab.Delete(ctx, api.KindExternalRoute, "", policyName, -1)
		if errors.Is(err, lab.ErrNotFound) {
			return nil
		}
		return err
	}
	return p.put(ctx, fmt.Sprintf(`apiVersion: k8s.ovn.org/v1
kind: AdminPolicyBasedExternalRoute
metadata: {name: %s}
spec:
  from: {namespaceSelector: {matchLabels: {project: scenario}}}
  nextHops: %s
`, policyName, hops))
}

func staticHops(bfd bool, gateways []gateway) string {
	var hops []string
	for _, g := range gateways {
		for _, a := range g.addrs {
			hops = append(hops, fmt.Sprintf("{ip: %q, bfdEnabled: %t}", a, bfd))
		}
	}
	return "{static: [" + strings.Join(hops, ", ") + "]}"
}

func (p *project) dynamicHops(bfd bool, gateways []gateway) string {
	var numbers []string
	for _, g := range gateways {
		numbers = append(numbers, fmt.Sprintf("%q", fmt.Sprint(g.number)))
	}
	return fmt.Sprintf(`{dynamic: [{podSelector: {matchExpressions: [{key: number, operator: In, values: [%s]}]}, `+
		`namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %s}}, networkAttachmentName: %s, bfdEnabled: %t}]}`,
		strings.Join(numbers, ", "), gatewayNamespace, p.network, bfd)
}

// put applies a manifest that withdraw takes back.
func (p *project) put(ctx context.Context, manifest string) error {
	objs, err := api.Split("scenario.yaml", []byte(manifest))
	if err != nil {
		return err
	}
	_, err = p.s.lab.Apply(ctx, objs)
	return err
}

// begin is a project without gateways, and has it be one again when the scenario has ended.
func (s *scene) begin() *project {
	ginkgo.GinkgoHelper()
	p := s.project()
	s.cleanup("take the gateways back", p.withdraw)
	return p
}

// withdraw takes every origin back and makes gateways again that are gone: the namespace and the
// gateways' pods as setUp made them, and no policy. It waits until the pod is without a gateway.
func (p *project) withdraw(ctx context.Context) error {
	if err := p.policy(ctx, false, ""); err != nil {
		return err
	}
	if err := p.put(ctx, p.manifest()); err != nil {
		return err
	}
	for _, g := range p.gateways {
		if err := p.mend(ctx, g); err != nil {
			return fmt.Errorf("mend %s: %w", g.name, err)
		}
	}
	return nothing(ctx, p.routed)
}

// routed names the routes that the project's pod has and, where it has none, what the datapaths have not
// followed.
func (p *project) routed(ctx context.Context) ([]string, error) {
	have, err := p.routes(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, ip := range p.pod {
		if len(have[ip]) > 0 {
			out = append(out, fmt.Sprintf("removal of the routes of %s by %v", ip, have[ip]))
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	return p.s.lab.Behind(ctx)
}

// mend makes a gateway's pod ready and its interface what it was in the beginning.
func (p *project) mend(ctx context.Context, g gateway) error {
	res, err := p.s.lab.Resources()
	if err != nil {
		return err
	}
	if pod := res.Pod(gatewayNamespace, g.name); pod == nil || !kubesim.Ready(pod) {
		if err := p.s.lab.SetReady(ctx, gatewayNamespace, g.name, true); err != nil {
			return err
		}
	}
	return p.wire(g)
}

// declare makes gateways the project's and waits until the datapaths have followed.
func (p *project) declare(from origin, gateways ...gateway) {
	ginkgo.GinkgoHelper()
	check(from.declare(p, p.s.ctx, false, gateways), from.name)
	p.expectRoutes(false, gateways...)
}
