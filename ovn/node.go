package ovn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"

	"github.com/spklab/spklab/ctl"
)

// NodeConfig is what the set-up of a node needs to know.
type NodeConfig struct {
	Node      string           // the node's name, and its chassis'
	Dir       string           // run directory of the node's daemons
	NB, SB    string           // the databases, "unix:PATH"
	Uplink    string           // NIC on the physical network
	MAC       net.HardwareAddr // of the node and of its gateway router
	Addresses []netip.Prefix   // of the node
	// Management are the node's addresses in its pods' networks, in local gateway mode; empty: none.
	Management []netip.Prefix
	// Cluster are the networks of the pods, which the node reaches by its management port.
	Cluster []netip.Prefix
	// MaxRevalidator is Open vSwitch's other_config:max-revalidator in milliseconds; 0: its own.
	MaxRevalidator uint32

	Ctl string   // path of the control socket; empty: none
	Log *ctl.Log // nil: a log of its own
	// Programs are those to call, of the release that the daemons are of.
	Programs Programs
}

// Bridges of a node, and the name that OVN-Kubernetes gives to the physical network.
const (
	bridgeInt = "br-int"
	bridgeExt = "br-ex"
	physnet   = "physnet"

	managementPort = "ovn-k8s-mp0"
)

// Kinds of events of a node: Object is the logical port, Detail the interface.
const (
	EventPlugged   = "port-plugged"
	EventUnplugged = "port-unplugged"
	EventFlows     = "bridge-flows-set"
)

// NodeState is the state document of a node.
type NodeState struct {
	Node  string     `json:"node"`
	Ports []NodePort `json:"ports"` // pods in br-int, sorted by their names
	// Shared says that the flows which share the node's address between the node and its gateway
	// router stand in br-ex.
	Shared bool     `json:"shared"`
	Errors []string `json:"errors,omitempty"` // of the last look
}

// NodePort is a pod's port on br-int.
type NodePort struct {
	Name string `json:"name"` // of the logical port, NAMESPACE_POD
	Link string `json:"link"`
}

// How often a node is looked at: while something is missing, and when all is as it should be.
// Changes of interfaces wake it at once.
const (
	lookSoon   = 50 * time.Millisecond
	lookSeldom = 2 * time.Second
)

// RunNode sets a node up in the caller's network namespace and keeps it so until ctx ends: the
// bridges and the node's addresses, the pods' ports, the flows of br-ex. Open vSwitch has to run.
func RunNode(ctx context.Context, cfg NodeConfig) error {
	if cfg.Log == nil {
		cfg.Log = ctl.NewLog("ovn-node-" + cfg.Node)
	}
	n := &node{cfg: cfg, log: cfg.Log}
	if err := n.makeBridges(ctx); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.keep(ctx) })
	if cfg.Ctl != "" {
		s := ctl.Server{Log: cfg.Log, Ready: n.ready.Load, State: func() (any, error) { return n.document(), nil }, Extra: n.handlers()}
		g.Go(func() error { return s.Serve(ctx, cfg.Ctl) })
	}
	return g.Wait()
}

// node keeps a node as it should be.
type node struct {
	cfg   NodeConfig
	log   *ctl.Log
	ready atomic.Bool
	flows string // those of br-ex, as last set

	mu    sync.Mutex
	state NodeState
}

func (n *node) document() NodeState {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state
}

// keep looks at the node after every change of its interfaces, and from time to time.
func (n *node) keep(ctx context.Context) error {
	done := make(chan struct{})
	defer close(done)
	changed, err := watchLinks(done)
	for err == nil {
		wait := lookSoon
		if n.look(ctx) {
			wait = lookSeldom
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case _, open := <-changed:
			timer.Stop()
			if !open {
				changed, err = watchLinks(done)
			}
		}
	}
	return err
}

// watchLinks says that interfaces have changed, once for all changes since that was taken. It reads however long a
// look takes. The channel is closed where more came all the same than there was room for (netlink(7), ENOBUFS).
func watchLinks(done <-chan struct{}) (<-chan struct{}, error) {
	links, changed := make(chan netlink.LinkUpdate), make(chan struct{}, 1)
	if err := netlink.LinkSubscribe(links, done); err != nil {
		return nil, fmt.Errorf("watch interfaces: %w", err)
	}
	go func() {
		defer close(changed)
		for range links {
			select {
			case changed <- struct{}{}:
			default: // it has been said
			}
		}
	}()
	return changed, nil
}

// look brings everything to what it should be and says whether nothing is missing any more.
func (n *node) look(ctx context.Context) bool {
	st := NodeState{Node: n.cfg.Node, Ports: []NodePort{}}
	err := errors.Join(raise(bridgeExt, n.cfg.Addresses), n.manage(), n.withoutZeroSNAT(ctx))
	ports, perr := n.plug(ctx)
	st.Ports = append(st.Ports, ports...)
	shared, ferr := n.share(ctx)
	st.Shared = shared
	if err = errors.Join(err, perr, ferr); err != nil && ctx.Err() == nil {
		st.Errors = []string{err.Error()}
	}
	n.mu.Lock()
	if len(st.Errors) > 0 && !slices.Equal(st.Errors, n.state.Errors) {
		n.log.Add(EventError, n.cfg.Node, st.Errors[0])
	}
	n.state = st
	n.mu.Unlock()
	if err == nil {
		n.ready.Store(true)
	}
	return err == nil && shared
}

// vsctl runs ovs-vsctl on the node's database. It returns when the switch has followed.
func (n *node) vsctl(ctx context.Context, argv ...string) (string, error) {
	return n.cfg.Programs.output(ctx, n.cfg.Dir, "ovs-vsctl", append([]string{"--timeout=10"}, argv...)...)
}

// makeBridges tells the switch of its bridges and the controller of its databases.
func (n *node) makeBridges(ctx context.Context) error {
	argv := []string{
		"--", "set", "Open_vSwitch", ".", "external-ids:system-id=" + n.cfg.Node, "external-ids:ovn-remote=" + n.cfg.SB,
		"external-ids:ovn-encap-type=geneve", "external-ids:ovn-encap-ip=" + n.cfg.Addresses[0].Addr().String(),
		"external-ids:ovn-bridge-mappings=" + physnet + ":" + bridgeExt, "external-ids:ovn-bridge-datapath-type=netdev",
		"external-ids:ovn-monitor-all=true",
	}
	if ms := n.cfg.MaxRevalidator; ms != 0 {
		argv = append(argv, fmt.Sprintf("other_config:max-revalidator=%d", ms))
	}
	for _, bridge := range []string{bridgeInt, bridgeExt} {
		argv = append(argv, "--", "--may-exist", "add-br", bridge, "--", "set", "Bridge", bridge, "datapath_type=netdev", "fail_mode=secure")
	}
	argv = append(argv, "--", "set", "Bridge", bridgeExt, fmt.Sprintf(`other_config:hwaddr="%s"`, n.cfg.MAC),
		"--", "--may-exist", "add-port", bridgeExt, n.cfg.Uplink)
	if len(n.cfg.Management) > 0 {
		argv = append(argv, "--", "--may-exist", "add-port", bridgeInt, managementPort,
			"--", "set", "Interface", managementPort, "type=internal", fmt.Sprintf(`mac="%s"`, managementMAC(n.cfg.Management)),
			"external_ids:iface-id=k8s-"+n.cfg.Node)
	}
	if _, err := n.vsctl(ctx, argv...); err != nil {
		return fmt.Errorf("make bridges: %w", err)
	}
	return nil
}

// manage sets the node's end of its management port up.
func (n *node) manage() error {
	if len(n.cfg.Management) == 0 {
		return nil
	}
	if err := raise(managementPort, n.cfg.Management); err != nil {
		return err
	}
	l, err := netlink.LinkByName(managementPort)
	if err != nil {
		return fmt.Errorf("find %s: %w", managementPort, err)
	}
	for _, to := range n.cfg.Cluster {
		for _, own := range n.cfg.Management {
			if own.Addr().Is4() != to.Addr().Is4() {
				continue
			}
			r := netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(to), Gw: own.Masked().Addr().Next().AsSlice()}
			if err := netlink.RouteReplace(&r); err != nil {
				return fmt.Errorf("route to %s by %s: %w", to, managementPort, err)
			}
		}
	}
	return nil
}

// managementMAC is the one that the controller writes for the management port: of its first IPv4
// address, or of the end of its first IPv6 one.
func managementMAC(addresses []netip.Prefix) net.HardwareAddr {
	tail := addresses[0].Addr().AsSlice()
	for _, p := range addresses {
		if p.Addr().Is4() {
			tail = p.Addr().AsSlice()
			break
		}
	}
	return append(net.HardwareAddr{0x0a, 0x58}, tail[len(tail)-4:]...)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// raise brings an interface up with its addresses.
func raise(link string, addresses []netip.Prefix) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return fmt.Errorf("find %s: %w", link, err)
	}
	have, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", link, err)
	}
	for _, p := range addresses {
		a := netlink.Addr{IPNet: ipNet(p)}
		if slices.ContainsFunc(have, func(b netlink.Addr) bool { return b.Equal(a) }) {
			continue
		}
		if err := netlink.AddrReplace(l, &a); err != nil {
			return fmt.Errorf("give %s to %s: %w", p, link, err)
		}
	}
	if l.Attrs().Flags&net.FlagUp != 0 {
		return nil
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("raise %s: %w", link, err)
	}
	return nil
}

// withoutZeroSNAT tells the controller that the datapath cannot commit connections with an all-zero
// source translation. It can, but Open vSwitch up to 3.1.2 aborts when the 5-tuple of such a
// connection comes back (lib/conntrack.c, mended by 6753b1086 in 3.1.3). The switch claims the
// ability anew each time it starts.
func (n *node) withoutZeroSNAT(ctx context.Context) error {
	found, err := n.vsctl(ctx, "--bare", "--columns=_uuid", "find", "Datapath", "capabilities:ct_zero_snat=true")
	if err != nil {
		return fmt.Errorf("read the datapath's capabilities: %w", err)
	}
	for _, id := range words(found) {
		if _, err := n.vsctl(ctx, "set", "Datapath", id, "capabilities:ct_zero_snat=false"); err != nil {
			return fmt.Errorf("take ct_zero_snat off the datapath's capabilities: %w", err)
		}
	}
	return nil
}
