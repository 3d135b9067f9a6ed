package lab

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/bfd"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/kubesim"
	"github.com/spklab/spklab/router"
	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/topo/fabric"
	"github.com/spklab/spklab/topo/sriov"
	"github.com/spklab/spklab/topo/vf"
)

// imageApp is the application that ships with spklab (package traffic).
const imageApp = "spklab/app"

// Orders of the processes beside the fabric's own: routers and applications need nobody, TMMs
// dial routers.
const (
	orderRouter = 0
	orderApp    = 0
	orderTMM    = 1
)

// Env is what a plan needs to know of the machine.
type Env struct {
	Spklab   string // absolute path of the program
	Spkproxy string // absolute path of the program
	StateDir string // of the lab
	PinDir   string // of the lab
	OVNRoot  string // private root of OVN's programs, where the lab runs them; empty: they are installed
	// Hardware are the cards that the lab uses, nil for none, and Inventory the machine's at the moment.
	Hardware  *topo.Hardware
	Inventory sriov.Inventory
}

func (e Env) socket(process string) string { return socketPath(e.StateDir, process) }

func socketPath(stateDir, process string) string {
	return filepath.Join(stateDir, "ctl", process+".sock")
}

// Plan computes everything a lab consists of at one moment. It is pure. Pods that are on their
// way out or cannot start yet are not part of it.
func Plan(spec *topo.Lab, res api.Resources, env Env) (topo.Plan, error) {
	driver, err := fabric.Of(spec)
	if err != nil {
		return topo.Plan{}, err
	}
	for _, f := range checkNames(spec, res) {
		return topo.Plan{}, fmt.Errorf("plan %s: %s", f.Object, f.Message)
	}
	fenv := fabric.Env{Spklab: env.Spklab, StateDir: env.StateDir, OVNRoot: env.OVNRoot}
	steps := slices.Concat(driver.Base(spec), driver.Cluster(spec, fenv))
	cards, err := cardSteps(spec, env.Hardware, cardPlans(spec, env.Hardware, env.Inventory, res))
	if err != nil {
		return topo.Plan{}, fmt.Errorf("plan %s: %w", spec.Name, err)
	}
	steps = append(steps, cards...)
	for _, w := range spec.Workers {
		steps = append(steps, driver.Node(spec, w, fenv)...)
	}
	for _, r := range spec.Routers {
		more, err := routerSteps(spec, r, env)
		if err != nil {
			return topo.Plan{}, err
		}
		steps = append(steps, more...)
	}
	for i := range res.Pods {
		p := &res.Pods[i]
		if p.DeletionTimestamp != nil || !kubesim.Runnable(p) {
			continue
		}
		w, ok := worker(spec, p.Spec.NodeName)
		if !ok {
			continue // the scheduler's finding says so
		}
		wired, err := wire(p, &res)
		if err != nil {
			return topo.Plan{}, err
		}
		gateways, err := kubesim.Gateways(p)
		if err != nil {
			return topo.Plan{}, err
		}
		steps = append(steps, topo.PodBase(spec, wired)...)
		steps = append(steps, divert(driver.Pod(spec, w, wired), topo.NetnsName(spec.Name, p.Name), gateways)...)
		devices, err := kubesim.DeviceEnv(p, &res)
		if err != nil {
			return topo.Plan{}, err
		}
		steps = append(steps, podProcess(spec, p, env, devices)...)
	}
	return topo.NewPlan(steps), nil
}

func worker(spec *topo.Lab, name string) (topo.Worker, bool) {
	for _, w := range spec.Workers {
		if w.Name == name {
			return w, true
		}
	}
	return topo.Worker{}, false
}

// wire is a pod as topo knows it: the addresses and networks that its annotations hold.
func wire(p *corev1.Pod, res *api.Resources) (topo.Pod, error) {
	out := topo.Pod{Namespace: p.Namespace, Name: p.Name, Worker: p.Spec.NodeName, IPs: kubesim.PodIPs(p), MAC: kubesim.PodMAC(p)}
	status, err := api.NetworkStatuses(p)
	if err != nil {
		return out, err
	}
	selections, err := kubesim.ParseSelections(p.Annotations[api.AnnotationNetworks], p.Namespace)
	if err != nil {
		return out, err
	}
	for _, s := range status {
		nad := res.NAD(s.Name)
		if s.Default || nad == nil {
			continue
		}
		c, err := nad.Config()
		if err != nil {
			return out, err
		}
		a := topo.Attachment{Network: s.Name, Config: c, Interface: s.Interface, MAC: s.MAC, Device: s.PCIAddress()}
		if a.Assigned, err = kubesim.Assigned(p, s.Interface); err != nil {
			return out, err
		}
		if a.Assigned == nil {
			a.Addresses = fixedAddresses(selections, s.Interface)
		}
		out.Attachments = append(out.Attachments, a)
	}
	return out, nil
}

// divert has a pod's default routes leave by the interfaces that it asks for, as multus does; the cluster
// network's go.
func divert(steps []topo.Step, pod string, gateways map[string][]netip.Addr) []topo.Step {
	if len(gateways) == 0 {
		return steps
	}
	steps = slices.DeleteFunc(steps, func(s topo.Step) bool {
		return s.Route != nil && s.Route.Netns == pod && s.Route.To.Bits() == 0
	})
	for _, link := range slices.Sorted(maps.Keys(gateways)) {
		for _, via := range gateways[link] {
			all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
			if via.Is6() {
				all = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
			}
			steps = append(steps, topo.Step{Route: &topo.RouteStep{Netns: pod, To: all, Via: via, Link: link}})
		}
	}
	return steps
}

// fixedAddresses are those that a pod asks for on one of its interfaces.
func fixedAddresses(selections []kubesim.Selection, link string) []netip.Prefix {
	for _, s := range selections {
		if s.Interface == link {
			return s.IPs
		}
	}
	return nil
}

// MetricsAddr is where the proxy of each TMM serves metrics, in the TMM's network namespace.
const MetricsAddr = "127.0.0.1:9179"

// podProcess is what runs in a pod, with variables KEY=VALUE: the proxy in a TMM, the application in a pod
// of that image.
func podProcess(spec *topo.Lab, p *corev1.Pod, env Env, variables []string) []topo.Step {
	id := p.Namespace + "/" + p.Name
	step := &topo.ProcessStep{Name: p.Name, Netns: topo.NetnsName(spec.Name, p.Name), Ready: env.socket(p.Name), GraceSeconds: grace(p), Env: variables}
	for _, c := range p.Spec.Containers {
		switch c.Image {
		case kubesim.ImageTMM:
			step.Order = orderTMM
			step.Argv = []string{env.Spkproxy, "--manifests", filepath.Join(env.StateDir, "manifests"), "--pod", id,
				"--pins", filepath.Join(env.PinDir, p.Name), "--ctl", env.socket(p.Name), "--metrics", MetricsAddr}
			return []topo.Step{{Pins: &topo.PinsStep{Dir: p.Name}}, {Process: step}}
		case imageApp:
			step.Order = orderApp
			step.Argv = []string{env.Spklab, "run", "app", "--pod", id}
			for _, port := range c.Ports {
				proto := "--tcp"
				if port.Protocol == corev1.ProtocolUDP {
					proto = "--udp"
				}
				step.Argv = append(step.Argv, proto, strconv.Itoa(int(port.ContainerPort)))
			}
			if linger := preStop(&c); linger > 0 {
				step.Argv = append(step.Argv, "--linger", linger.String())
			}
			step.Argv = append(step.Argv, "--ctl", env.socket(p.Name))
			return []topo.Step{{Process: step}}
		}
	}
	return nil
}

// preStop is how long a container's preStop hook sleeps before the container is asked to end; 0 without one.
func preStop(c *corev1.Container) time.Duration {
	if c.Lifecycle == nil || c.Lifecycle.PreStop == nil || c.Lifecycle.PreStop.Sleep == nil {
		return 0
	}
	return time.Duration(c.Lifecycle.PreStop.Sleep.Seconds) * time.Second
}

// imageless says whether nothing runs in the pod because the lab has none of its images.
func imageless(p *corev1.Pod) bool {
	return !slices.ContainsFunc(p.Spec.Containers, func(c corev1.Container) bool {
		return c.Image == kubesim.ImageTMM || c.Image == imageApp
	})
}

func grace(p *corev1.Pod) int {
	if s := p.Spec.TerminationGracePeriodSeconds; s != nil {
		return int(*s)
	}
	return kubesim.DefaultGraceSeconds
}

// routerSteps are a router's configuration and process.
func routerSteps(spec *topo.Lab, r topo.Router, env Env) ([]topo.Step, error) {
	cfg := bgp.RouterConfig{Name: r.Name, ASN: r.ASN, RouterID: routerID(r), Refuse: r.Refuse}
	for _, n := range r.Neighbors {
		cfg.Ranges = append(cfg.Ranges, bgp.PeerRange{
			Prefix: n.Range, ASN: n.ASN, Password: n.Password, MaxPrefix: n.MaxPrefix, BFD: bfdTimes(n),
			Timers: bgp.Timers{HoldTime: uint16(n.HoldTime), Keepalive: uint16(n.Keepalive)},
		})
	}
	data, err := json.MarshalIndent(cfg, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode configuration of router %s: %w", r.Name, err)
	}
	file := filepath.Join("conf", "router-"+r.Name+".json")
	argv := []string{env.Spklab, "run", "router", "--config", filepath.Join(env.StateDir, file), "--ctl", env.socket(r.Name)}
	if !embedded(r) {
		argv = append(argv, "--kind", r.Kind, "--dir", filepath.Join(env.StateDir, "router", r.Name))
	}
	return []topo.Step{
		{File: &topo.FileStep{Path: file, Content: string(data) + "\n"}},
		{Process: &topo.ProcessStep{
			Name: r.Name, Netns: topo.NetnsName(spec.Name, r.Name), Ready: env.socket(r.Name), Order: orderRouter,
			Argv: argv,
		}},
	}, nil
}

// bfdTimes are what BFD with a range of neighbors asks for, nil without BFD.
func bfdTimes(n topo.PeerRange) *bfd.Times {
	if !n.BFD {
		return nil
	}
	times := bgp.DefaultBFD()
	if n.BFDInterval > 0 {
		times.MinTx = time.Duration(n.BFDInterval) * time.Millisecond
		times.MinRx = times.MinTx
	}
	if n.BFDMultiplier > 0 {
		times.Multiplier = n.BFDMultiplier
	}
	return &times
}

func embedded(r topo.Router) bool { return r.Kind == "" || r.Kind == topo.RouterEmbedded }

// checkRouters says whether the programs of the lab's routers are installed.
func checkRouters(spec *topo.Lab) error {
	for _, r := range spec.Routers {
		if embedded(r) {
			continue
		}
		if err := router.Check(r.Kind); err != nil {
			return fmt.Errorf("router %s: %w", r.Name, err)
		}
	}
	return nil
}

// routerID is the router's first IPv4 address; a router without one takes its ASN's bytes.
func routerID(r topo.Router) netip.Addr {
	for _, nic := range r.NICs {
		for _, a := range nic.Addresses {
			if a.Is4() {
				return a
			}
		}
	}
	return netip.AddrFrom4([4]byte{byte(r.ASN >> 24), byte(r.ASN >> 16), byte(r.ASN >> 8), byte(r.ASN) | 1})
}

// machines are the workers as Kubernetes' nodes.
func machines(spec *topo.Lab) []corev1.Node {
	var nodes []corev1.Node
	for _, w := range spec.Workers {
		m := kubesim.Machine{Name: w.Name, PodCIDRs: w.PodCIDRs}
		for _, nic := range w.NICs {
			if nic.Network != spec.Fabric.Network {
				continue
			}
			for _, a := range nic.Addresses {
				m.Addresses = append(m.Addresses, netip.PrefixFrom(a, prefixLen(spec, nic.Network, a)))
			}
		}
		nodes = append(nodes, kubesim.Node(m))
	}
	return nodes
}

// prefixLen is the length of the subnet of a network that holds an address.
func prefixLen(spec *topo.Lab, network string, a netip.Addr) int {
	for _, n := range spec.Networks {
		if n.Name != network {
			continue
		}
		for _, s := range n.Subnets {
			if s.Contains(a) {
				return s.Bits()
			}
		}
	}
	return a.BitLen()
}

// pools are the workers' VFs: those of the lab file, and those that policies make of the lab's cards.
func pools(spec *topo.Lab, hw *topo.Hardware, inv sriov.Inventory, res api.Resources) map[string][]vf.Pool {
	out := map[string][]vf.Pool{}
	for _, plan := range cardPlans(spec, hw, inv, res) {
		for _, p := range plan.Pools {
			out[plan.Node] = append(out[plan.Node], vf.Pool{Resource: p.Resource, VFs: p.VFs})
		}
	}
	for _, w := range spec.Workers {
		for _, p := range w.Pools {
			out[w.Name] = append(out[w.Name], vf.Pool(p))
		}
	}
	return out
}

// isOVN says whether the fabric is OVN-Kubernetes, whose annotations the pods then carry.
func isOVN(spec *topo.Lab) bool { return strings.HasPrefix(spec.Fabric.Driver, "ovn") }

// Preview is the plan that Up would follow for a lab that does not run yet.
func Preview(src *Source, opt Options) (topo.Plan, []api.Finding, error) {
	findings, err := Check(src)
	if err != nil {
		return topo.Plan{}, findings, err
	}
	res, _, err := api.Decode(src.Objects)
	if err != nil {
		return topo.Plan{}, findings, err
	}
	res, _ = settled(src.Spec, res, pools(src.Spec, src.Hardware, src.Inventory, res))
	rt := opt.Host.Open(src.Spec.Name)
	// The programs stand by their names: a plan reads the same wherever they are installed.
	plan, err := Plan(src.Spec, res, Env{Spklab: "spklab", Spkproxy: "spkproxy", StateDir: rt.Dir(), PinDir: rt.PinDir(),
		Hardware: src.Hardware, Inventory: src.Inventory})
	if err != nil {
		return plan, findings, err
	}
	taken, err := takenCards(plan.Steps(), rt)
	return plan, append(findings, taken...), err
}

// takenCards are the cards of a plan that another lab has, which up would refuse to take.
func takenCards(steps []topo.Step, rt *topo.Runtime) ([]api.Finding, error) {
	var out []api.Finding
	for _, s := range steps {
		var address string
		switch {
		case s.PF != nil:
			address = s.PF.Address
		case s.Uplink != nil:
			address = s.Uplink.Address
		default:
			continue
		}
		other, err := rt.CardHolder(address)
		if err != nil {
			return out, err
		}
		if other != "" {
			out = append(out, api.Finding{Severity: api.SeverityWarning, Object: "PF " + address,
				Message: "lab " + other + " has it, and up would refuse to take it", Hint: "spklab down " + other})
		}
	}
	return out, nil
}
