package exgw

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/dataplane/api"
)

// Sources of gateways.
const (
	SourcePod       = "annotation"           // of a gateway pod
	SourceNamespace = "namespace annotation" // addresses
	SourcePolicy    = "policy"               // AdminPolicyBasedExternalRoute
)

// Condition is one question of the chain that decides about a gateway, with the object and the
// field of it that decides.
type Condition struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Object string `json:"object"` // Kind namespace/name
	Field  string `json:"field"`
	Text   string `json:"text"` // what stands there; where it does not hold, what would be right

	problem bool // deserves a warning; a pod that is not ready does not
}

// Candidate is one address that somebody offers as gateway to the pods of one namespace, with all
// that was asked about it. The chain ends with the first condition that does not hold.
type Candidate struct {
	Source     string      `json:"source"`
	Object     string      `json:"object"`           // that offers: Pod, Namespace or AdminPolicyBasedExternalRoute
	Pod        string      `json:"pod,omitempty"`    // the gateway pod, empty for a static address
	Address    netip.Addr  `json:"address,omitzero"` // invalid where the chain ends before it
	MAC        string      `json:"mac,omitempty"`    // as network-status has it
	BFD        bool        `json:"bfd,omitempty"`    // asked for
	Conditions []Condition `json:"conditions"`
}

// OK says whether every condition holds.
func (c *Candidate) OK() bool {
	return !slices.ContainsFunc(c.Conditions, func(x Condition) bool { return !x.OK })
}

// failed is the condition that does not hold, nil when all do.
func (c *Candidate) failed() *Condition {
	if i := slices.IndexFunc(c.Conditions, func(x Condition) bool { return !x.OK }); i >= 0 {
		return &c.Conditions[i]
	}
	return nil
}

// resolver finds the gateways of namespaces. It remembers what does not depend on the namespace.
type resolver struct {
	res      *api.Resources
	labels   map[string]map[string]string // of namespaces
	gateways []*corev1.Pod                // annotated ones, by namespace and name
	chains   map[chainKey]chain
	policies [][]Candidate // what each policy's hops offer, whatever the namespace
}

// newResolver knows every namespace that there is: one may exist by its pods alone.
func newResolver(res *api.Resources) *resolver {
	r := &resolver{res: res, labels: map[string]map[string]string{}, chains: map[chainKey]chain{}}
	for i := range res.Pods {
		p := &res.Pods[i]
		r.labels[p.Namespace] = map[string]string{api.LabelNamespaceName: p.Namespace}
		if _, ok := p.Annotations[api.AnnotationRoutingNamespaces]; ok {
			r.gateways = append(r.gateways, p)
		}
	}
	for i := range res.Namespaces {
		ns := &res.Namespaces[i]
		r.labels[ns.Name] = map[string]string{api.LabelNamespaceName: ns.Name}
		for k, v := range ns.Labels {
			r.labels[ns.Name][k] = v
		}
	}
	for i := range res.ExternalRoutes {
		r.policies = append(r.policies, r.hops(&res.ExternalRoutes[i]))
	}
	return r
}

// candidates are all offers to the pods of a namespace, those that fail included. An address that
// one pod offers already is refused to another pod; as the answer depends on the objects alone, the
// second one takes over when the first one goes.
func (r *resolver) candidates(namespace string) []Candidate {
	var out []Candidate
	for _, p := range r.gateways {
		out = append(out, r.annotated(p, namespace)...)
	}
	out = append(out, r.fromNamespace(namespace)...)
	for i := range r.res.ExternalRoutes {
		out = append(out, r.fromPolicy(i, namespace)...)
	}
	owners := map[netip.Addr]string{}
	for i := range out {
		c := &out[i]
		if c.Pod == "" || !c.OK() {
			continue
		}
		owner, taken := owners[c.Address]
		if taken && owner != c.Pod {
			c.Conditions = append(c.Conditions, Condition{
				Name: "address is its own", Object: "Pod " + c.Pod, Field: networkStatus, problem: true,
				Text: fmt.Sprintf("address %s serves namespace %s as gateway of pod %s already; give each its own", c.Address, namespace, owner),
			})
			continue
		}
		owners[c.Address] = c.Pod
	}
	return out
}

// annotated is what a pod with the annotation routing-namespaces offers.
func (r *resolver) annotated(p *corev1.Pod, namespace string) []Candidate {
	text := p.Annotations[api.AnnotationRoutingNamespaces]
	_, bfd := p.Annotations[api.AnnotationBFD]
	c := Candidate{Source: SourcePod, Object: podRef(p), Pod: podName(p), BFD: bfd}
	listed := slices.Contains(parseNamespaces(text), namespace)
	about := Condition{
		Name: "serves the namespace", OK: listed, Object: c.Object, Field: annotation(api.AnnotationRoutingNamespaces),
		Text: fmt.Sprintf("%q lists %s", text, namespace),
	}
	if !listed {
		about.Text = fmt.Sprintf("%q does not list %s", text, namespace)
		c.Conditions = []Condition{about}
		return []Candidate{c}
	}
	network, ok := p.Annotations[api.AnnotationRoutingNetwork]
	field := annotation(api.AnnotationRoutingNetwork)
	if !ok {
		network = ""
	}
	return c.offers(about, r.chain(chainKey{p, network, field, c.Object}))
}

// offers is a candidate for each address that a chain ends with, or one for a chain that fails.
func (c Candidate) offers(about Condition, of chain) []Candidate {
	c.Conditions = append([]Condition{about}, of.conditions...)
	if len(of.hops) == 0 {
		return []Candidate{c}
	}
	out := make([]Candidate, len(of.hops))
	for i, h := range of.hops {
		out[i] = c
		out[i].Conditions = slices.Clone(c.Conditions)
		out[i].Address, out[i].MAC = h.addr, h.mac
	}
	return out
}

// fromNamespace is what the namespace's own annotation offers.
func (r *resolver) fromNamespace(namespace string) []Candidate {
	i := slices.IndexFunc(r.res.Namespaces, func(n corev1.Namespace) bool { return n.Name == namespace })
	if i < 0 {
		return nil
	}
	ns := &r.res.Namespaces[i]
	text, ok := ns.Annotations[api.AnnotationExternalGateways]
	if !ok || text == "" {
		return nil
	}
	_, bfd := ns.Annotations[api.AnnotationBFD]
	c := Candidate{Source: SourceNamespace, Object: api.KindNamespace + " " + namespace, BFD: bfd}
	about := Condition{Name: "addresses can be read", OK: true, Object: c.Object, Field: annotation(api.AnnotationExternalGateways), Text: fmt.Sprintf("%q", text)}
	addrs, err := parseGateways(text)
	if err != nil { // one bad address rejects all
		about.OK, about.problem = false, true
		about.Text = fmt.Sprintf("%v; write addresses with commas between, one bad address rejects all", err)
	}
	return c.offers(about, chain{hops: withoutMAC(addrs)})
}

// chainKey is a pod in a role: whose addresses on a network count. asker and field are what names
// the network.
type chainKey struct {
	pod          *corev1.Pod
	network      string
	field, asker string
}

// chain is what was asked about a gateway pod, and its addresses when all holds.
type chain struct {
	conditions []Condition
	hops       []hop
}

// hop is an address of a gateway with its MAC, where that is known.
type hop struct {
	addr netip.Addr
	mac  string
}

func withoutMAC(addrs []netip.Addr) []hop {
	var out []hop
	for _, a := range addrs {
		out = append(out, hop{addr: a})
	}
	return out
}

// chain asks a pod: does it run, is it ready, will it stay, and which addresses does it offer.
func (r *resolver) chain(k chainKey) chain {
	if c, ok := r.chains[k]; ok {
		return c
	}
	var c chain
	for _, ask := range []func(*corev1.Pod) Condition{askPhase, askReady, askTerminating} {
		c.conditions = append(c.conditions, ask(k.pod))
		if !c.conditions[len(c.conditions)-1].OK {
			r.chains[k] = c
			return c
		}
	}
	hops, network := askNetwork(k)
	c.conditions = append(c.conditions, network)
	if network.OK {
		c.hops = hops
	}
	r.chains[k] = c
	return c
}

func askPhase(p *corev1.Pod) Condition {
	return Condition{Name: "gateway pod runs", OK: !completed(p), Object: podRef(p), Field: "status.phase", Text: "phase " + orNone(string(p.Status.Phase))}
}

func askReady(p *corev1.Pod) Condition {
	status := "none"
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			status = string(c.Status)
		}
	}
	return Condition{Name: "gateway pod is ready", OK: status == string(corev1.ConditionTrue), Object: podRef(p), Field: "status.conditions[Ready]", Text: "Ready is " + status}
}

func askTerminating(p *corev1.Pod) Condition {
	c := Condition{Name: "gateway pod stays", OK: p.DeletionTimestamp == nil, Object: podRef(p), Field: "metadata.deletionTimestamp", Text: "not set"}
	if !c.OK {
		c.Text = "it is on its way out"
	}
	return c
}

// networkStatus is the field where multus writes a pod's networks.
const networkStatus = `metadata.annotations["` + api.AnnotationNetworkStatus + `"]`

// askNetwork finds the addresses that a gateway pod offers: those of every entry of network-status
// with the network's name, or its own where it is in the host's network.
func askNetwork(k chainKey) ([]hop, Condition) {
	c := Condition{Name: "network has addresses", Object: podRef(k.pod), Field: networkStatus}
	fail := func(format string, args ...any) ([]hop, Condition) {
		c.problem, c.Text = true, fmt.Sprintf(format, args...)
		return nil, c
	}
	if k.network == "" {
		c.Field = "spec.hostNetwork"
		if !k.pod.Spec.HostNetwork {
			return fail("neither in the host's network nor with a network to look for; write %s of %s", k.field, k.asker)
		}
		addrs := statusAddrs(k.pod)
		if len(addrs) == 0 {
			return fail("in the host's network, and status.podIPs has no address yet")
		}
		c.OK, c.Text = true, fmt.Sprintf("in the host's network, %s", joined(addrs))
		return withoutMAC(addrs), c
	}
	status, err := api.NetworkStatuses(k.pod)
	if err != nil {
		return fail("%v", err)
	}
	var hops []hop
	var addrs []netip.Addr
	var names []string
	for _, s := range status {
		if !slices.Contains(names, s.Name) {
			names = append(names, s.Name)
		}
		for _, a := range s.IPs {
			if a = a.Unmap(); s.Name == k.network && a.IsValid() && !slices.Contains(addrs, a) {
				addrs, hops = append(addrs, a), append(hops, hop{a, s.MAC})
			}
		}
	}
	if len(addrs) == 0 {
		return fail("%s %q matches no entry of network-status with ips; the entries are called %s", k.field, k.network, orNone(strings.Join(names, ", ")))
	}
	c.OK, c.Text = true, fmt.Sprintf("%q has %s", k.network, joined(addrs))
	return hops, c
}

func statusAddrs(p *corev1.Pod) []netip.Addr {
	var out []netip.Addr
	for _, ip := range p.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// parseNamespaces reads routing-namespaces: names with commas between. As OVN-Kubernetes does it,
// blanks are part of a name, which then is nobody's.
func parseNamespaces(text string) []string { return strings.Split(text, ",") }

// parseGateways reads routing-external-gws: addresses with commas between, without blanks.
func parseGateways(text string) ([]netip.Addr, error) {
	var out []netip.Addr
	for item := range strings.SplitSeq(text, ",") {
		a, err := netip.ParseAddr(item)
		if err != nil {
			return nil, fmt.Errorf("parse address: %w", err)
		}
		if a.Zone() != "" {
			return nil, fmt.Errorf("parse address: %q has a zone", item)
		}
		if a = a.Unmap(); !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out, nil
}

func annotation(name string) string { return `metadata.annotations["` + name + `"]` }

func podName(p *corev1.Pod) string { return p.Namespace + "/" + p.Name }

func podRef(p *corev1.Pod) string { return api.Ref(api.KindPod, p) }

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func joined(addrs []netip.Addr) string {
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return strings.Join(out, ", ")
}
