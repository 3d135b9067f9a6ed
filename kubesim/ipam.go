package kubesim

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/dataplane/api"
)

// firstPodOffset is where addresses for pods start in a node's subnet: the first one is the
// gateway's, the second one OVN-Kubernetes keeps for the node's management port.
const firstPodOffset = 3

// podNetwork is one entry of annotation k8s.ovn.org/pod-networks as OVN-Kubernetes writes it.
type podNetwork struct {
	IPAddresses []string `json:"ip_addresses"`
	MACAddress  string   `json:"mac_address,omitempty"`
	GatewayIPs  []string `json:"gateway_ips,omitempty"`
	IPAddress   string   `json:"ip_address,omitempty"`
	GatewayIP   string   `json:"gateway_ip,omitempty"`
}

type pins struct {
	addrs []netip.Addr
	mac   string
	all   bool // the pod has no other addresses, whatever families its node has
}

// pinnedAddresses reads what a pod asks for in its pod-networks annotation.
func pinnedAddresses(p *corev1.Pod) (pins, error) {
	text, ok := p.Annotations[api.AnnotationPodNetworks]
	if !ok {
		return pins{}, nil
	}
	return parsePodNetworks(text)
}

// parsePodNetworks reads the default entry of a pod-networks annotation: a bare address, or one
// with the prefix length of the node's subnet. An entry with gateway_ips, as OVN-Kubernetes writes it,
// has all of the pod's addresses; without them it pins some.
func parsePodNetworks(text string) (pins, error) {
	var networks map[string]podNetwork
	if err := json.Unmarshal([]byte(text), &networks); err != nil {
		return pins{}, fmt.Errorf("decode %s: %w", api.AnnotationPodNetworks, err)
	}
	out := pins{mac: networks["default"].MACAddress}
	for _, s := range networks["default"].IPAddresses {
		bare, _, _ := strings.Cut(s, "/")
		a, err := netip.ParseAddr(bare)
		if err != nil {
			return pins{}, fmt.Errorf("decode %s: %w", api.AnnotationPodNetworks, err)
		}
		out.addrs = append(out.addrs, a.Unmap())
	}
	out.all = len(out.addrs) > 0 && len(networks["default"].GatewayIPs) > 0
	return out, nil
}

// assignAddresses gives each scheduled pod an address of every family of its node's pod CIDRs:
// the one it has, the one it is pinned to, or the lowest free one.
func assignAddresses(r *api.Resources, opt Options) []api.Finding {
	var findings []api.Finding
	used := map[netip.Addr]*corev1.Pod{}
	for i := range r.Pods {
		for _, a := range PodIPs(&r.Pods[i]) {
			used[a] = &r.Pods[i]
		}
	}
	var later []*corev1.Pod // pinned ones choose first
	eachLivePod(r, func(p *corev1.Pod) {
		pin, err := pinnedAddresses(p)
		switch {
		case err != nil:
			findings = append(findings, podError(p, err.Error(), `{"default":{"ip_addresses":["10.131.1.100/23"]}}`))
		case p.Spec.NodeName == "" || p.Spec.HostNetwork:
		case len(pin.addrs) > 0:
			findings = append(findings, assign(r, p, pin, used, opt)...)
		default:
			later = append(later, p)
		}
	})
	slices.SortStableFunc(later, compareOrdinal)
	for _, p := range later {
		findings = append(findings, assign(r, p, pins{}, used, opt)...)
	}
	return findings
}

func assign(r *api.Resources, p *corev1.Pod, pin pins, used map[netip.Addr]*corev1.Pod, opt Options) []api.Finding {
	at := slices.IndexFunc(r.Nodes, func(n corev1.Node) bool { return n.Name == p.Spec.NodeName })
	if at < 0 {
		return nil // the scheduler said so
	}
	cidrs := podCIDRs(&r.Nodes[at])
	for _, a := range pin.addrs {
		if !slices.ContainsFunc(cidrs, containsAddr(a)) {
			return []api.Finding{podError(p, fmt.Sprintf("pinned address %s is outside the pod CIDRs of %s", a, p.Spec.NodeName),
				fmt.Sprintf("an address of %v", cidrs))}
		}
		if o := used[a]; o != nil && o != p {
			return []api.Finding{podError(p, fmt.Sprintf("pinned address %s belongs to %s", a, podName(o)), "a free address")}
		}
	}
	if pin.all {
		cidrs = slices.DeleteFunc(cidrs, func(c netip.Prefix) bool { return !slices.ContainsFunc(pin.addrs, c.Contains) })
	}
	addrs, full := choose(cidrs, append(slices.Clone(pin.addrs), PodIPs(p)...), used)
	if full.IsValid() {
		return []api.Finding{podError(p, fmt.Sprintf("no free address in %s of %s", full, p.Spec.NodeName), "a larger pod CIDR")}
	}
	for _, a := range PodIPs(p) {
		delete(used, a)
	}
	for _, a := range addrs {
		used[a] = p
	}
	record(p, addrs, cidrs, pin, opt)
	return nil
}

// choose takes one address a CIDR: a preferred one, else the lowest free. It returns the CIDR
// that is full, if one is.
func choose(cidrs []netip.Prefix, preferred []netip.Addr, used map[netip.Addr]*corev1.Pod) ([]netip.Addr, netip.Prefix) {
	var out []netip.Addr
	for _, c := range cidrs {
		if at := slices.IndexFunc(preferred, c.Contains); at >= 0 {
			out = append(out, preferred[at])
			continue
		}
		a := c.Masked().Addr()
		for range firstPodOffset {
			a = a.Next()
		}
		for c.Contains(a) && used[a] != nil {
			a = a.Next()
		}
		if next := a.Next(); !c.Contains(a) || a.Is4() && !c.Contains(next) { // the last IPv4 address is the broadcast's
			return nil, c
		}
		out = append(out, a)
	}
	return out, netip.Prefix{}
}

// record writes a pod's addresses where the cluster network and the kubelet write them.
func record(p *corev1.Pod, addrs []netip.Addr, cidrs []netip.Prefix, pin pins, opt Options) {
	p.Status.PodIPs = nil
	n := podNetwork{MACAddress: pin.mac}
	for i, a := range addrs {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: a.String()})
		n.IPAddresses = append(n.IPAddresses, netip.PrefixFrom(a, cidrs[i].Bits()).String())
		n.GatewayIPs = append(n.GatewayIPs, cidrs[i].Masked().Addr().Next().String())
	}
	if len(addrs) > 0 {
		p.Status.PodIP = addrs[0].String()
	}
	if n.MACAddress == "" {
		n.MACAddress = addressMAC(addrs)
	}
	if len(addrs) == 1 {
		n.IPAddress, n.GatewayIP = n.IPAddresses[0], n.GatewayIPs[0]
	}
	if opt.OVN {
		annotate(p, api.AnnotationPodNetworks, mustJSON(map[string]podNetwork{"default": n}))
	}
}

// PodIPs are a pod's addresses on the cluster network; nil before it has any.
func PodIPs(p *corev1.Pod) []netip.Addr {
	var out []netip.Addr
	for _, ip := range p.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// PodMAC is the hardware address of a pod's interface on the cluster network.
func PodMAC(p *corev1.Pod) string {
	if pin, err := pinnedAddresses(p); err == nil && pin.mac != "" {
		return pin.mac
	}
	return addressMAC(PodIPs(p))
}

// addressMAC is OVN-Kubernetes' rule: 0a:58 and the four bytes of the IPv4 address, or for
// IPv6 alone the first four bytes of a digest.
func addressMAC(addrs []netip.Addr) string {
	for _, a := range addrs {
		if a.Is4() {
			b := a.As4()
			return fmt.Sprintf("0a:58:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3])
		}
	}
	for _, a := range addrs {
		return digestMAC("0a:58", a.String(), 4)
	}
	return ""
}

func podCIDRs(n *corev1.Node) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range n.Spec.PodCIDRs {
		if c, err := netip.ParsePrefix(s); err == nil {
			out = append(out, c)
		}
	}
	return out
}

func containsAddr(a netip.Addr) func(netip.Prefix) bool {
	return func(p netip.Prefix) bool { return p.Contains(a) }
}
