package kubesim

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/dataplane/api"
)

// schedule binds pods to nodes: the node that carries a pinned address, else the node with the
// fewest pods of the same deployment (for bare pods: the fewest pods), in the nodes' order.
func schedule(r *api.Resources, _ Options) []api.Finding {
	var findings []api.Finding
	var pending []*corev1.Pod
	eachLivePod(r, func(p *corev1.Pod) {
		if p.Spec.NodeName == "" {
			pending = append(pending, p)
		} else if !slices.ContainsFunc(r.Nodes, func(n corev1.Node) bool { return n.Name == p.Spec.NodeName }) {
			findings = append(findings, podError(p, fmt.Sprintf("nodeName %q: there is no such node", p.Spec.NodeName),
				"a worker of the lab file, or no nodeName"))
		}
	})
	slices.SortStableFunc(pending, compareOrdinal)
	for _, p := range pending {
		node := pickNode(r, p)
		if node == "" {
			findings = append(findings, podError(p, "no node fits", "check nodeSelector and the pinned address"))
			continue
		}
		p.Spec.NodeName = node
	}
	return findings
}

func pickNode(r *api.Resources, p *corev1.Pod) string {
	best, fewest := "", 0
	for i := range r.Nodes {
		n := &r.Nodes[i]
		if !fits(n, p) {
			continue
		}
		if count := countPods(r, n.Name, p); best == "" || count < fewest {
			best, fewest = n.Name, count
		}
	}
	return best
}

// fits says whether a node has the labels and the subnets that a pod asks for.
func fits(n *corev1.Node, p *corev1.Pod) bool {
	for k, v := range p.Spec.NodeSelector {
		if n.Labels[k] != v {
			return false
		}
	}
	pins, err := pinnedAddresses(p)
	if err != nil {
		return true // the address management says what is wrong
	}
	cidrs := podCIDRs(n)
	for _, a := range pins.addrs {
		if !slices.ContainsFunc(cidrs, containsAddr(a)) {
			return false
		}
	}
	return true
}

func countPods(r *api.Resources, node string, like *corev1.Pod) int {
	owner, owned := ownerOf(like)
	count := 0
	for i := range r.Pods {
		p := &r.Pods[i]
		if p.Spec.NodeName != node {
			continue
		}
		if o, ok := ownerOf(p); !owned || ok && o == owner && p.Namespace == like.Namespace {
			count++
		}
	}
	return count
}
