package topo

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spklab/spklab/topo/vf"
)

// FormatVersion is the version of the lab file format.
const FormatVersion = 1

// validate finds what does not fit together. Errors name fields by their path.
func validate(l *Lab) error {
	v := &validator{lab: l, names: map[string]string{}, addrs: map[netip.Addr]string{}}
	v.head()
	v.networks()
	v.fabric()
	v.workers()
	v.routers()
	v.clients()
	return errors.Join(v.errs...)
}

type validator struct {
	lab   *Lab
	errs  []error
	names map[string]string     // of nodes, to their paths
	addrs map[netip.Addr]string // to the NICs that have them
}

func (v *validator) bad(path, text, format string, args ...any) {
	v.errs = append(v.errs, &InputError{Path: path, Text: text, Message: fmt.Sprintf(format, args...)})
}

func (v *validator) head() {
	if v.lab.Version != FormatVersion {
		v.bad("spklab", fmt.Sprint(v.lab.Version), "not a version of this format; the file begins with `spklab: %d`", FormatVersion)
	}
	if !ValidName(v.lab.Name) {
		v.bad("name", v.lab.Name, "no name of a lab; %v", errLabName)
	}
}

func (v *validator) networks() {
	seen := map[string]bool{}
	for i, n := range v.lab.Networks {
		path := fmt.Sprintf("networks[%d]", i)
		v.linkName(path+".name", n.Name)
		if seen[n.Name] {
			v.bad(path+".name", n.Name, "a network of this name stands above; give each its own")
		}
		seen[n.Name] = true
		if n.MTU != 0 && (n.MTU < 1280 || n.MTU > 9216) {
			v.bad(path+".mtu", fmt.Sprint(n.MTU), "want 1280 (RFC 8200) to 9216 bytes")
		}
	}
	type entry struct {
		prefix netip.Prefix
		name   string
	}
	var all []entry
	for i, n := range v.lab.Networks {
		for j, s := range n.Subnets {
			for _, other := range all {
				if other.prefix.Overlaps(s) {
					v.bad(fmt.Sprintf("networks[%d].subnets[%d]", i, j), s.String(), "overlaps %s of network %s; choose another", other.prefix, other.name)
				}
			}
			all = append(all, entry{s, n.Name})
		}
	}
}

// Open vSwitch takes no less than 100 milliseconds for max-revalidator, and more than a minute is no lab's wish.
const leastRevalidator, mostRevalidator = 100, 60000

func (v *validator) fabric() {
	f := v.lab.Fabric
	v.oneOf("fabric.driver", f.Driver, drivers()...)
	v.oneOf("fabric.backend", f.Backend, append(Backends(), "")...)
	if f.Driver != "ovn" && f.Real() {
		v.bad("fabric.backend", f.Backend, "belongs to the driver ovn; leave it out")
	}
	if f.Driver == "ovn" {
		v.oneOf("fabric.release", f.Release, append(Releases(), "")...)
		v.oneOf("fabric.profile", f.Profile, append(Profiles(), "")...)
		v.oneOf("fabric.udpHash", f.UDPHash, append(udpHashes(), "")...)
		v.oneOf("fabric.gatewayMode", f.GatewayMode, append(gatewayModes(), "")...)
		if f.MaxRevalidator != 0 && (f.MaxRevalidator < leastRevalidator || f.MaxRevalidator > mostRevalidator) {
			v.bad("fabric.maxRevalidator", fmt.Sprint(f.MaxRevalidator), "want %d to %d milliseconds", leastRevalidator, mostRevalidator)
		}
	} else {
		v.absent("fabric.release", f.Release, "belongs to the driver ovn; leave it out")
		v.absent("fabric.profile", f.Profile, "profiles belong to the driver ovn; leave it out")
		v.absent("fabric.udpHash", f.UDPHash, "belongs to the driver ovn; leave it out")
		v.absent("fabric.gatewayMode", f.GatewayMode, "gateway modes belong to the driver ovn; leave it out")
		if f.MaxRevalidator != 0 {
			v.bad("fabric.maxRevalidator", fmt.Sprint(f.MaxRevalidator), "belongs to the driver ovn; leave it out")
		}
	}
	if len(f.ClusterCIDRs) == 0 {
		v.bad("fabric.clusterCIDRs", "", "an empty list; write the networks of the pods, e.g. [10.131.0.0/16]")
	}
	n, ok := v.network("fabric.network", f.Network)
	if most := v.lab.mtu(n.Name); ok && f.MTU != 0 && (f.MTU < 1280 || f.MTU > most) {
		v.bad("fabric.mtu", fmt.Sprint(f.MTU), "want 1280 (RFC 8200) to %d bytes, the mtu of network %s", most, n.Name)
	}
}

// drivers are the known cluster networks.
func drivers() []string { return []string{"ovn", "flannel-hostgw"} }

// Backends are the known ways to have a driver's forwarding done; the first is the default.
func Backends() []string { return []string{BackendSim, BackendReal, BackendRealOnSim} }

// The backends of the driver ovn.
const (
	BackendSim       = "sim"
	BackendReal      = "real"
	BackendRealOnSim = "real-on-sim"
)

// Real says whether OVN's own daemons do the forwarding.
func (f Fabric) Real() bool { return f.Backend == BackendReal || f.Backend == BackendRealOnSim }

// WithBackend is the lab with another backend, or an InputError where its driver has none such. An
// empty one means the lab's own.
func (l *Lab) WithBackend(backend string) (*Lab, error) {
	if backend == "" {
		return l, nil
	}
	out := *l
	out.Fabric.Backend = backend
	return &out, validate(&out)
}

// WithProfile is the lab with another profile, or an InputError where there is none such. An empty
// one means the lab's own.
func (l *Lab) WithProfile(profile string) (*Lab, error) {
	if profile == "" {
		return l, nil
	}
	out := *l
	out.Fabric.Profile = profile
	return &out, validate(&out)
}

// WithRelease is the lab with another release of OVN, or an InputError where there is none such. An
// empty one means the lab's own.
func (l *Lab) WithRelease(release string) (*Lab, error) {
	if release == "" {
		return l, nil
	}
	out := *l
	out.Fabric.Release = release
	return &out, validate(&out)
}

// Releases are the releases of OVN that labs have been run on.
func Releases() []string { return []string{"23.03", "25.03"} }

// Profiles are the known kinds of simulated OVN forwarding; the first is the default.
func Profiles() []string { return []string{"spk", "ovn-23.03", "ovn-25.03"} }

// udpHashes are what the simulated forwarding can hash of UDP.
func udpHashes() []string { return []string{"ports", "addresses"} }

// The gateway modes of the driver ovn.
const (
	GatewayShared = "shared"
	GatewayLocal  = "local"
)

// gatewayModes are the known gateway modes; the first is the default.
func gatewayModes() []string { return []string{GatewayShared, GatewayLocal} }

// The kinds of routers: gobgp, FRR's daemons, BIRD.
const (
	RouterEmbedded = "embedded"
	RouterFRR      = "frr"
	RouterBIRD     = "bird"
)

// RouterKinds are the known kinds of routers; the first is the default.
func RouterKinds() []string { return []string{RouterEmbedded, RouterFRR, RouterBIRD} }

// WithRouters is the lab with all its routers of one kind, or an InputError where there is none such. An
// empty one means the lab's own.
func (l *Lab) WithRouters(kind string) (*Lab, error) {
	if kind == "" {
		return l, nil
	}
	out := *l
	out.Routers = slices.Clone(l.Routers)
	for i := range out.Routers {
		out.Routers[i].Kind = kind
	}
	return &out, validate(&out)
}

// absent asks for a field to be left out.
func (v *validator) absent(path, got, why string) {
	if got != "" {
		v.bad(path, got, "%s", why)
	}
}

// oneOf asks for one of several words; an empty one among them says that none is needed.
func (v *validator) oneOf(path, got string, want ...string) {
	if !slices.Contains(want, got) {
		words := slices.DeleteFunc(slices.Clone(want), func(s string) bool { return s == "" })
		v.bad(path, got, "want %s", strings.Join(words, " or "))
	}
}

// network asks for the name of a network.
func (v *validator) network(path, name string) (Network, bool) {
	n, ok := v.lab.network(name)
	if !ok {
		var names []string
		for _, n := range v.lab.Networks {
			names = append(names, n.Name)
		}
		if names == nil {
			names = []string{"none"}
		}
		v.bad(path, name, "no such network; there are: %s", strings.Join(names, ", "))
	}
	return n, ok
}

// node checks a node's name.
func (v *validator) node(path, name string) {
	path += ".name"
	switch {
	case name == Switch:
		v.bad(path, name, "this name is taken by the lab's switch; choose another")
	case !dnsLabel(name):
		v.bad(path, name, "no name of a node; want a lower-case DNS label: at most 63 letters, digits and -, no dot")
	case v.names[name] != "":
		v.bad(path, name, "a node of this name stands at %s; give each its own", v.names[name])
	}
	v.names[name] = path
}

// linkName checks a name that becomes an interface's: plain ASCII, for the kernel fills in a %d,
// and no dot, which separates the parts of a sysctl's name.
func (v *validator) linkName(path, name string) {
	switch {
	case name == "lo" || name == "all" || name == "default":
		v.bad(path, name, "the kernel has this name for itself; choose another")
	case name == "" || len(name) > maxLinkName || strings.ContainsFunc(name, notInLinkName) || name[0] == '-':
		v.bad(path, name, "no name of an interface; want 1 to %d letters, digits, _ or -, without a - in front", maxLinkName)
	}
}

func notInLinkName(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-'
}

func (v *validator) workers() {
	if len(v.lab.Workers) == 0 {
		v.bad("workers", "", "an empty list; a lab has at least one worker")
	}
	type entry struct {
		prefix netip.Prefix
		name   string
	}
	var all []entry
	vfs := map[string]string{}
	for i, w := range v.lab.Workers {
		path := fmt.Sprintf("workers[%d]", i)
		v.node(path, w.Name)
		v.nics(path, w.NICs)
		v.pools(path, w.Pools, vfs)
		if len(w.PodCIDRs) == 0 {
			v.bad(path+".podCIDRs", "", "an empty list; write the network of the worker's pods, out of fabric.clusterCIDRs")
		}
		for j, c := range w.PodCIDRs {
			at := fmt.Sprintf("%s.podCIDRs[%d]", path, j)
			if !slices.ContainsFunc(v.lab.Fabric.ClusterCIDRs, func(p netip.Prefix) bool { return p.Contains(c.Addr()) && p.Bits() <= c.Bits() }) {
				v.bad(at, c.String(), "outside of fabric.clusterCIDRs %v; choose one within", v.lab.Fabric.ClusterCIDRs)
			}
			for _, other := range all {
				if other.prefix.Overlaps(c) {
					v.bad(at, c.String(), "overlaps %s of %s; choose another", other.prefix, other.name)
				}
			}
			all = append(all, entry{c, w.Name})
		}
	}
}

// pools checks a worker's VFs; taken has those before, with their pools.
func (v *validator) pools(path string, pools []Pool, taken map[string]string) {
	for i, p := range pools {
		at := fmt.Sprintf("%s.pools[%d]", path, i)
		if prefix, name, ok := strings.Cut(p.Resource, "/"); !ok || prefix == "" || name == "" || strings.Contains(name, "/") {
			v.bad(at+".resource", p.Resource, "no PREFIX/NAME; write one such as openshift.io/internal")
		}
		if len(p.VFs) == 0 {
			v.bad(at+".vfs", "", "an empty list; write PCI addresses of virtual functions")
		}
		for j, address := range p.VFs {
			where := fmt.Sprintf("%s.vfs[%d]", at, j)
			if !vf.ValidAddress(address) {
				v.bad(where, address, "no PCI address; write one such as 0000:01:10.0")
			}
			if other := taken[address]; other != "" {
				v.bad(where, address, "is also in %s; write each VF once", other)
			}
			taken[address] = at
		}
	}
}

// nics checks a node's NICs: names, networks, addresses.
func (v *validator) nics(path string, nics []NIC) {
	seen := map[string]bool{}
	for i, n := range nics {
		at := fmt.Sprintf("%s.nics[%d]", path, i)
		v.linkName(at+".name", n.Name)
		if seen[n.Name] {
			v.bad(at+".name", n.Name, "a NIC of this name stands above; give each its own")
		}
		seen[n.Name] = true
		network, ok := v.network(at+".network", n.Network)
		v.cable(at, n, strings.HasPrefix(path, "workers"))
		for j, a := range n.Addresses {
			where := fmt.Sprintf("%s.addresses[%d]", at, j)
			if _, in := network.prefix(a); ok && !in {
				v.bad(where, a.String(), "outside of network %s, which has %v; choose one within", network.Name, network.Subnets)
			}
			if other := v.addrs[a]; other != "" {
				v.bad(where, a.String(), "is also the address of %s; give each its own", other)
			}
			v.addrs[a] = at
		}
	}
}

// cable checks the tagged networks of a NIC.
func (v *validator) cable(at string, n NIC, worker bool) {
	if len(n.VLANs) > 0 && !worker {
		v.bad(at+".vlans", "", "tagged networks are for workers, whose pods tag; give this node a NIC on each network")
	}
	validateTags(at, n.VLANs, v.bad)
	for i, tagged := range n.VLANs {
		v.network(fmt.Sprintf("%s.vlans[%d].network", at, i), tagged.Network)
	}
}

func (v *validator) routers() {
	for i, r := range v.lab.Routers {
		path := fmt.Sprintf("routers[%d]", i)
		v.node(path, r.Name)
		v.oneOf(path+".kind", r.Kind, append(RouterKinds(), "")...)
		v.asn(path+".asn", r.ASN)
		v.nics(path, r.NICs)
		v.routes(path, r.NICs, r.Routes)
		for j, n := range r.Neighbors {
			at := fmt.Sprintf("%s.neighbors[%d]", path, j)
			v.asn(at+".asn", n.ASN)
			v.session(at, n)
			v.bfd(at, n)
		}
	}
}

// bfd asks for times that the embedded router, FRR 8.4 and BIRD 2 all take, and for none without BFD.
func (v *validator) bfd(path string, n PeerRange) {
	times := []struct {
		field       string
		value       int
		least, most int
		unit        string
	}{
		{"bfdInterval", int(n.BFDInterval), 50, 60000, " milliseconds"},
		{"bfdMultiplier", int(n.BFDMultiplier), 2, 255, ""},
	}
	for _, t := range times {
		switch {
		case t.value == 0:
		case !n.BFD:
			v.bad(path+"."+t.field, fmt.Sprint(t.value), "belongs to bfd: true; write that, too, or leave this out")
		case t.value < t.least || t.value > t.most:
			v.bad(path+"."+t.field, fmt.Sprint(t.value), "want %d to %d%s", t.least, t.most, t.unit)
		}
	}
}

// session asks for timers that RFC 4271 allows (section 4.2) and a password that the kernel
// (tcp(7), TCP_MD5SIG) and the configurations of FRR and BIRD can hold.
func (v *validator) session(path string, n PeerRange) {
	if n.HoldTime > 0 && n.HoldTime < 3 || n.HoldTime > 65535 {
		v.bad(path+".holdTime", fmt.Sprint(n.HoldTime), "no hold time; want 3 to 65535 seconds")
	}
	hold := n.HoldTime
	if hold == 0 {
		hold = 9
	}
	if n.Keepalive >= hold {
		v.bad(path+".keepalive", fmt.Sprint(n.Keepalive), "sessions would end first; want less than the hold time of %d seconds", hold)
	}
	notPlain := func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }
	if len(n.Password) > 80 || strings.ContainsFunc(n.Password, notPlain) {
		v.bad(path+".password", "", "no password for BGP; want 1 to 80 letters, digits and signs, no space, quote or backslash")
	}
}

// asn asks for a number that may stand in an OPEN: not 0 (RFC 7607), not AS_TRANS (RFC 6793), not
// the last one (RFC 7300).
func (v *validator) asn(path string, asn uint32) {
	if asn == 0 || asn == 23456 || asn == 1<<32-1 {
		v.bad(path, fmt.Sprint(asn), "a reserved AS number; want 1 to 4294967294, not 23456 (private ones begin at 64512)")
	}
}

func (v *validator) clients() {
	for i, c := range v.lab.Clients {
		path := fmt.Sprintf("clients[%d]", i)
		v.node(path, c.Name)
		v.nics(path, c.NICs)
		v.routes(path, c.NICs, c.Routes)
	}
}

// routes asks that each gateway is on a network that the node is cabled to.
func (v *validator) routes(path string, nics []NIC, routes []Route) {
	for i, r := range routes {
		at := fmt.Sprintf("%s.routes[%d]", path, i)
		reached := slices.ContainsFunc(nics, func(n NIC) bool {
			network, _ := v.lab.network(n.Network)
			_, ok := network.prefix(r.Via)
			return ok
		})
		switch {
		case r.To.Addr().Is4() != r.Via.Is4():
			v.bad(at+".via", r.Via.String(), "of another family than %s; choose a gateway of the same", r.To)
		case !reached:
			v.bad(at+".via", r.Via.String(), "on no network that the node is cabled to; choose a neighbour")
		}
	}
}
