package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"github.com/vishvananda/netlink"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/lab"
)

// What the scenarios about external gateways make beside the lab's own objects: a project with one
// pod, and pods on the nodes' network that can be its gateways, with a network of addresses behind
// each of them that is the same behind all.
const (
	gatewayNamespace = "scenario-gateways"
	gatewayPort      = 8080
	projectNamespace = "scenario-project"
	projectPod       = "project-pod"
	policyName       = "scenario-policy"
	// gatewayLink is the gateways' interface on the nodes' network.
	gatewayLink = "net1"
	// firstGateway is the host's number of the first gateway in the nodes' network.
	firstGateway = 200
	gatewayCount = 3
)

// behind is how many addresses of a family lie behind each gateway: where OVN hashes addresses
// alone, each is one choice. All of them on one of two gateways happens once in 2^15 labs.
const behind = 16

// gateway is a pod on the nodes' network.
type gateway struct {
	number int // from 1
	name   string
	addrs  []netip.Addr // on the nodes' network, one a family
	mac    string
}

// id is the gateway as greetings say it.
func (g gateway) id() string { return gatewayNamespace + "/" + g.name }

// project is what the scenarios about external gateways work on.
type project struct {
	s        *scene
	network  string // the NetworkAttachmentDefinition on the nodes' network
	subnets  []netip.Prefix
	worker   string
	nodeIPs  []netip.Addr // of the worker that the pod runs on
	pod      []netip.Addr
	gateways []gateway
}

// project says what the scenario's objects are in this lab; nothing is made.
func (s *scene) project() *project {
	ginkgo.GinkgoHelper()
	res := must(s.lab.Resources())
	p := &project{s: s, worker: s.lab.Spec.Workers[0].Name}
	for i := range res.Pods {
		if network := res.Pods[i].Annotations[api.AnnotationRoutingNetwork]; network != "" && p.network == "" {
			p.network = network // the one that TMMs offer
		}
	}
	gomega.Expect(p.network).NotTo(gomega.BeEmpty(), "a network on which TMMs are gateways")
	for _, n := range s.lab.Spec.Networks {
		if n.Name == s.lab.Spec.Fabric.Network {
			p.subnets = n.Subnets
		}
	}
	for _, nic := range s.lab.Spec.Workers[0].NICs {
		if nic.Network == s.lab.Spec.Fabric.Network {
			p.nodeIPs = append(p.nodeIPs, nic.Addresses...)
		}
	}
	for n := 1; n <= gatewayCount; n++ {
		g := gateway{number: n, name: fmt.Sprintf("gateway-%d", n), mac: fmt.Sprintf("02:00:5e:00:53:%02x", n)}
		for _, subnet := range p.subnets {
			g.addrs = append(g.addrs, nth(subnet.Addr(), firstGateway+n))
		}
		p.gateways = append(p.gateways, g)
	}
	if pod := res.Pod(projectNamespace, projectPod); pod != nil {
		for _, ip := range pod.Status.PodIPs {
			p.pod = append(p.pod, netip.MustParseAddr(ip.IP))
		}
	}
	return p
}

// nth is the address n after a network's, n below 256.
func nth(network netip.Addr, n int) netip.Addr {
	b := network.AsSlice()
	b[len(b)-1] += byte(n)
	a, _ := netip.AddrFromSlice(b)
	return a
}

// beyond are the addresses behind every gateway, from the networks set aside for tests and
// documentation (RFC 2544, RFC 3849).
func beyond(f family) []netip.Addr {
	first := netip.MustParseAddr("198.18.53.0")
	if f == v6 {
		first = netip.MustParseAddr("2001:db8:53::")
	}
	out := make([]netip.Addr, behind)
	for i := range out {
		out[i] = nth(first, i+1)
	}
	return out
}

// setUp makes the project and its gateways; none serves yet.
func (s *scene) setUp() {
	p := s.project()
	must(s.lab.Apply(s.ctx, parse(p.manifest())))
	p = s.project()
	gomega.Expect(p.pod).NotTo(gomega.BeEmpty(), "addresses of the project's pod")
	for _, g := range p.gateways {
		check(p.wire(g), "wire "+g.name)
	}
	check(p.settled(s.ctx), "the datapaths follow")
}

// tearDown removes what setUp made.
func (s *scene) tearDown() {
	for _, namespace := range []string{projectNamespace, gatewayNamespace} {
		if err := s.lab.Delete(s.ctx, api.KindNamespace, "", namespace, 0); !errors.Is(err, lab.ErrNotFound) {
			check(err, "delete namespace "+namespace)
		}
	}
	check(s.ready(s.ctx), "without the project")
}

// manifest is the project and its gateways, none of which serves yet.
func (p *project) manifest() string {
	docs := []string{
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: " + gatewayNamespace + "}\n",
		p.namespace(nil), projectManifest(p.worker),
	}
	for _, g := range p.gateways {
		docs = append(docs, p.gatewayManifest(g, nil))
	}
	return strings.Join(docs, "---\n")
}

func projectManifest(worker string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: %s}
spec:
  nodeName: %s
  terminationGracePeriodSeconds: 1
  containers:
    - name: app
      image: spklab/app
      ports: [{containerPort: %[4]d, protocol: TCP}, {containerPort: %[4]d, protocol: UDP}]
`, projectPod, projectNamespace, worker, gatewayPort)
}

// namespace is the project's namespace with annotations.
func (p *project) namespace(annotations map[string]string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: %s\n  labels: {project: scenario}\n  annotations: %s\n", projectNamespace, flowMap(annotations))
}

// flowMap is a map on one line of YAML, with quoted values.
func flowMap(m map[string]string) string {
	var parts []string
	for k, v := range m {
		parts = append(parts, fmt.Sprintf("%s: %q", k, v))
	}
	slices.Sort(parts)
	return "{" + strings.Join(parts, ", ") + "}"
}

// present says whether a gateway's pod is in the lab.
func (p *project) present(g gateway) bool {
	res, err := p.s.lab.Resources()
	return err == nil && res.Pod(gatewayNamespace, g.name) != nil
}

// gatewayManifest is a gateway's pod. Of one that is there the annotations that are not named are taken
// away, which an empty value does; on a new pod the presence of some would mean something.
func (p *project) gatewayManifest(g gateway, annotations map[string]string) string {
	var ips []string
	for i, a := range g.addrs {
		ips = append(ips, fmt.Sprintf("%q", netip.PrefixFrom(a, p.subnets[i].Bits())))
	}
	namespace, name, _ := strings.Cut(p.network, "/")
	all := map[string]string{
		api.AnnotationNetworks: fmt.Sprintf(`[{"namespace":%q,"name":%q,"interface":%q,"mac":%q,"ips":[%s]}]`,
			namespace, name, gatewayLink, g.mac, strings.Join(ips, ",")),
	}
	if p.present(g) {
		for _, key := range []string{api.AnnotationRoutingNamespaces, api.AnnotationRoutingNetwork, api.AnnotationBFD} {
			all[key] = ""
		}
	}
	for k, v := range annotations {
		all[k] = v
	}
	worker := p.s.lab.Spec.Workers[(g.number-1)%len(p.s.lab.Spec.Workers)].Name
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata:
  name: %s
  namespace: %s
  labels: {app: scenario-gateway, number: "%d"}
  annotations: %s
spec:
  nodeName: %s
  terminationGracePeriodSeconds: 1
  containers:
    - name: app
      image: spklab/app
      ports: [{containerPort: %[6]d, protocol: TCP}, {containerPort: %[6]d, protocol: UDP}]
`, g.name, gatewayNamespace, g.number, flowMap(all), worker, gatewayPort)
}

// wire gives a gateway its loopback, the addresses behind it, and its way back to the project's pod by the node
// that the pod runs on.
func (p *project) wire(g gateway) error {
	return p.s.inNetns(g.name, func() error {
		return errors.Join(addBeyond(g), announce(), setLink(true, g.mac), p.addAddresses(g), p.addWayBack())
	})
}

// loopback is the address that a gateway alone has on its loopback.
func (g gateway) loopback(f family) netip.Addr { return nth(beyond(f)[0], 100+g.number) }

func addBeyond(g gateway) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	for _, a := range slices.Concat(beyond(v4), beyond(v6), []netip.Addr{g.loopback(v4), g.loopback(v6)}) {
		if err := netlink.AddrReplace(lo, &netlink.Addr{IPNet: host(a)}); err != nil {
			return fmt.Errorf("give %s to lo: %w", a, err)
		}
	}
	return nil
}

// announce has the kernel tell the network of an interface that is new, as a macvlan plugin does, and
// from then on of each new hardware address. The IPv6 addresses are gone after it.
func announce() error {
	conf := func(key string) string {
		family, name, _ := strings.Cut(key, "/")
		return filepath.Join("/proc/sys/net", family, "conf", gatewayLink, name)
	}
	told, err := os.ReadFile(conf("ipv4/arp_notify"))
	if err != nil || strings.TrimSpace(string(told)) == "1" {
		return err
	}
	for _, key := range []string{"ipv6/ndisc_notify", "ipv4/arp_notify"} {
		if err := os.WriteFile(conf(key), []byte("1"), 0); err != nil {
			return err
		}
	}
	link, err := netlink.LinkByName(gatewayLink)
	if err != nil {
		return fmt.Errorf("find %s: %w", gatewayLink, err)
	}
	return errors.Join(netlink.LinkSetDown(link), netlink.LinkSetUp(link))
}

// addAddresses gives a gateway's interface the IPv6 addresses that the kernel takes from it when it is lowered.
// The kernel could keep them (keep_addr_on_down), but when the interface is lowered while its work on a new address
// waits its turn, the address is kept without its local route for good: usable to all looks, and not taken for its
// own (Linux 6.18, accept_dad 0: 14 of 2,160 addresses under load).
func (p *project) addAddresses(g gateway) error {
	link, err := netlink.LinkByName(gatewayLink)
	if err != nil {
		return fmt.Errorf("find %s: %w", gatewayLink, err)
	}
	for i, a := range g.addrs {
		if a.Is4() {
			continue
		}
		own := net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(p.subnets[i].Bits(), a.BitLen())}
		if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: &own}); err != nil {
			return fmt.Errorf("give %s to %s: %w", a, gatewayLink, err)
		}
	}
	return nil
}

func (p *project) addWayBack() error {
	link, err := netlink.LinkByName(gatewayLink)
	if err != nil {
		return fmt.Errorf("find %s: %w", gatewayLink, err)
	}
	for _, to := range p.pod {
		route := netlink.Route{Dst: host(to), Gw: familyOf(to).of(p.nodeIPs).AsSlice(), LinkIndex: link.Attrs().Index}
		if err := netlink.RouteReplace(&route); err != nil {
			return fmt.Errorf("add route to %s: %w", to, err)
		}
	}
	return nil
}

// setLink raises or lowers a gateway's interface and gives it a MAC.
func (p *project) setLink(g gateway, up bool, mac string) error {
	return p.s.inNetns(g.name, func() error {
		if err := setLink(up, mac); err != nil || !up {
			return err
		}
		return errors.Join(p.addAddresses(g), p.addWayBack())
	})
}

// setLink does so in the calling thread's network namespace; what is so already is left alone.
func setLink(up bool, mac string) error {
	link, err := netlink.LinkByName(gatewayLink)
	if err != nil {
		return fmt.Errorf("find %s: %w", gatewayLink, err)
	}
	if link.Attrs().HardwareAddr.String() != mac || !up {
		hw, err := net.ParseMAC(mac)
		if err != nil {
			return fmt.Errorf("parse MAC: %w", err)
		}
		if err := netlink.LinkSetDown(link); err != nil {
			return fmt.Errorf("lower %s: %w", gatewayLink, err)
		}
		if err := netlink.LinkSetHardwareAddr(link, hw); err != nil {
			return fmt.Errorf("change the MAC of %s: %w", gatewayLink, err)
		}
	}
	if !up {
		return nil
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("raise %s: %w", gatewayLink, err)
	}
	return nil
}

// routes are the gateways of the project's pod by address of the pod, as the northbound database
// has them, sorted; a BFD session is "ADDRESS bfd".
func (p *project) routes(ctx context.Context) (map[netip.Addr][]string, error) {
	nb, err := p.s.lab.Northbound(ctx)
	if err != nil {
		return nil, err
	}
	out := map[netip.Addr][]string{}
	for _, r := range nb.Routes {
		if r.Policy == nil || *r.Policy != "src-ip" {
			continue
		}
		source, ok := singleAddress(r.IPPrefix)
		if !ok || !slices.Contains(p.pod, source) {
			continue
		}
		hop := r.Nexthop
		if r.BFD != nil {
			hop += " bfd"
		}
		out[source] = append(out[source], hop)
	}
	for _, hops := range out {
		slices.Sort(hops)
	}
	return out, nil
}

// singleAddress is the address of a host route, with or without its length.
func singleAddress(text string) (netip.Addr, bool) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Addr(), p.IsSingleIP()
	}
	a, err := netip.ParseAddr(text)
	return a, err == nil
}

// expectRoutes waits until the pod has exactly these gateways in both families and the datapaths
// have followed.
func (p *project) expectRoutes(bfd bool, gateways ...gateway) {
	ginkgo.GinkgoHelper()
	want := map[netip.Addr][]string{}
	for _, ip := range p.pod {
		for _, g := range gateways {
			hop := familyOf(ip).of(g.addrs).String()
			if bfd {
				hop += " bfd"
			}
			want[ip] = append(want[ip], hop)
		}
		slices.Sort(want[ip])
	}
	p.expectRows(want)
}

// expectRows waits until the pod has exactly these rows and the datapaths have followed.
func (p *project) expectRows(want map[netip.Addr][]string) {
	ginkgo.GinkgoHelper()
	p.s.eventually("the routes of the project's pod", func() error {
		have, err := p.routes(p.s.ctx)
		if err != nil {
			return err
		}
		for _, ip := range p.pod {
			if !slices.Equal(have[ip], want[ip]) {
				return fmt.Errorf("%s has routes by %v, want %v", ip, have[ip], want[ip])
			}
		}
		return nil
	})
	check(p.settled(p.s.ctx), "the datapaths follow")
}

// settled waits until the datapaths do what the northbound database says.
func (p *project) settled(ctx context.Context) error { return nothing(ctx, p.s.lab.Behind) }
