// Package fabric holds the cluster networks: for each one, what it puts on the wire of a worker,
// of a pod and of the cluster. A driver is a few pure functions from a lab to steps.
package fabric

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/spklab/spklab/topo"
)

// Env is what the steps of processes need to know of the machine.
type Env struct {
	Spklab   string // absolute path of the spklab binary
	StateDir string // of the lab, absolute
	OVNRoot  string // private root of OVN's programs where a backend runs them; empty: they are installed
}

// Driver is one cluster network. All its functions are pure.
type Driver struct {
	// Check returns *topo.InputErrors, joined, for what the driver cannot work with.
	Check func(l *topo.Lab) error
	// Base is topo.Base with what the driver wants otherwise of the workers' NICs.
	Base func(l *topo.Lab) []topo.Step
	// Node is the worker's part, processes on the worker included.
	Node func(l *topo.Lab, w topo.Worker, env Env) []topo.Step
	// Pod is the pod's eth0 with addresses and routes.
	Pod func(l *topo.Lab, w topo.Worker, p topo.Pod) []topo.Step
	// Cluster is what exists once in a cluster.
	Cluster func(l *topo.Lab, env Env) []topo.Step
}

// Drivers are the cluster networks by the name that fabric.driver of a lab file gives them.
func Drivers() map[string]Driver {
	return map[string]Driver{
		"ovn":            {Check: checkOVN, Base: topo.Base, Node: ovnNode, Pod: ovnPod, Cluster: ovnCluster},
		"flannel-hostgw": {Check: checkHostGW, Base: topo.Base, Node: hostGWNode, Pod: hostGWPod, Cluster: hostGWCluster},
	}
}

// Of is the driver of a lab, with the backend that the lab asks for.
func Of(l *topo.Lab) (Driver, error) {
	if l.Fabric.Driver == "ovn" && l.Fabric.Real() {
		return Driver{Check: checkRealOVN, Base: realBase, Node: realNode, Pod: realPod, Cluster: realCluster}, nil
	}
	d, ok := Drivers()[l.Fabric.Driver]
	if !ok {
		return Driver{}, &topo.InputError{
			Path: "fabric.driver", Text: l.Fabric.Driver,
			Message: "no such cluster network; known: " + strings.Join(slices.Sorted(maps.Keys(Drivers())), ", "),
		}
	}
	return d, nil
}

// Load reads a lab file and checks it for its driver as well; errors carry their places.
func Load(path string) (*topo.Lab, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read lab file: %w", err)
	}
	return Parse(path, data)
}

// Parse is topo.Parse and the check of the lab's driver; errors carry their places.
func Parse(file string, data []byte) (*topo.Lab, error) {
	l, err := topo.Parse(file, data)
	if err != nil {
		return nil, err
	}
	if err := Check(l); err != nil {
		return nil, topo.Locate(file, data, err)
	}
	return l, nil
}

// Check asks the lab's driver whether it can work with the lab. Errors name fields, not lines.
func Check(l *topo.Lab) error {
	d, err := Of(l)
	if err != nil {
		return err
	}
	return d.Check(l)
}

// uplink is the NIC of a worker that carries its node address: the first on the fabric's network
// that has addresses.
func uplink(l *topo.Lab, w topo.Worker) (topo.NIC, bool) {
	for _, n := range w.NICs {
		if n.Network == l.Fabric.Network && len(n.Addresses) > 0 {
			return n, true
		}
	}
	return topo.NIC{}, false
}

// checkUplinks asks that every worker has an uplink with an address of each family that its pods
// have, and no NIC called as one of the fabric's bridges.
func checkUplinks(l *topo.Lab, bridges ...string) error {
	var errs []error
	for i, w := range l.Workers {
		for j, n := range w.NICs {
			if slices.Contains(bridges, n.Name) {
				errs = append(errs, &topo.InputError{
					Path: fmt.Sprintf("workers[%d].nics[%d].name", i, j), Text: n.Name,
					Message: "is the name of the fabric's own bridge; choose another",
				})
			}
		}
		nic, ok := uplink(l, w)
		if !ok {
			errs = append(errs, &topo.InputError{
				Path: fmt.Sprintf("workers[%d].nics", i), Text: w.Name,
				Message: fmt.Sprintf("no NIC with an address on %s, the fabric's network; give one an address there", l.Fabric.Network),
			})
			continue
		}
		for _, cidr := range w.PodCIDRs {
			if _, ok := familyOf(nic.Addresses, cidr.Addr()); !ok {
				errs = append(errs, &topo.InputError{
					Path: fmt.Sprintf("workers[%d].podCIDRs", i), Text: cidr.String(),
					Message: fmt.Sprintf("%s has no address of this family on %s; add one or leave the CIDR out", w.Name, nic.Name),
				})
			}
		}
	}
	return errors.Join(errs...)
}

// familyOf is the first of the addresses that has the family of like.
func familyOf(addrs []netip.Addr, like netip.Addr) (netip.Addr, bool) {
	for _, a := range addrs {
		if a.Is4() == like.Is4() {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// gateway is the first address of a pod CIDR, with the CIDR's length: the pods' default gateway.
func gateway(cidr netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(cidr.Masked().Addr().Next(), cidr.Bits())
}

// podEth0 cables a pod to a bridge of its worker, with the addresses of the worker's pod CIDRs
// and default routes by the gateways on that bridge.
func podEth0(l *topo.Lab, w topo.Worker, p topo.Pod, bridge string) []topo.Step {
	return append(podAddresses(l, w, p), topo.Step{Veth: &topo.VethStep{
		A: topo.VethEnd{Netns: topo.NetnsName(l.Name, p.Name), Name: "eth0", MAC: p.MAC, MTU: l.Fabric.MTU},
		B: topo.VethEnd{Netns: topo.NetnsName(l.Name, w.Name), Name: topo.PodLink(p), MTU: l.Fabric.MTU, Master: bridge},
	}})
}

// podAddresses are the addresses and default routes of a pod's eth0.
func podAddresses(l *topo.Lab, w topo.Worker, p topo.Pod) []topo.Step {
	ns := topo.NetnsName(l.Name, p.Name)
	var steps []topo.Step
	for _, ip := range p.IPs {
		for _, cidr := range w.PodCIDRs {
			if !cidr.Contains(ip) {
				continue
			}
			steps = append(steps,
				topo.Step{Addr: &topo.AddrStep{Netns: ns, Link: "eth0", Prefix: netip.PrefixFrom(ip, cidr.Bits())}},
				topo.Step{Route: &topo.RouteStep{Netns: ns, To: everything(ip), Via: gateway(cidr).Addr()}})
		}
	}
	return steps
}

// everything is the default route's destination in the family of like.
func everything(like netip.Addr) netip.Prefix {
	if like.Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}
