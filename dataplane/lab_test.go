package dataplane

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/spklab/spklab/dataplane/bpf"
)

// tableHosts are the hosts of the packet tables by name. Clients are reached by the router of the
// external network, pods by their node on the internal one.
func tableHosts(family string) map[string]netip.Addr {
	out := map[string]netip.Addr{}
	for name, addrs := range map[string][2]string{
		"client":  {"203.0.113.10", "2001:db8:113::10"},
		"client2": {"203.0.113.11", "2001:db8:113::11"},
		"narrow":  {"203.0.113.200", "2001:db8:113::c8"}, // behind a link with an MTU of 1400
		"slim":    {"203.0.113.201", "2001:db8:113::c9"}, // behind one with 600 for IPv4, less than IPv6 may have
		"lost":    {"203.0.113.250", "2001:db8:113::fa"}, // no route
		"hop":     {"198.51.100.77", "2001:db8:77::77"},  // a router on the way
		"router":  {"198.51.100.1", "2001:db8:51::1"},
		"node":    {"10.144.100.11", "fd00:10:144:100::11"},
		"inside":  {"10.144.100.16", "fd00:10:144:100::16"}, // self-IPs
		"outside": {"198.51.100.16", "2001:db8:51::16"},
		"pod":     {"10.131.1.100", "fd01:0:0:1::100"},
		"pod2":    {"10.131.1.101", "fd01:0:0:1::101"},
		"pod3":    {"10.131.1.102", "fd01:0:0:1::102"},
		"plain":   {"10.131.0.200", "fd01:0:0:1:8000::200"}, // a pod that leaves as itself
		"pooled":  {"10.131.0.100", "fd01:0:0:1:4000::100"}, // a pod that leaves by a SNAT pool
		"jailed":  {"10.131.0.1", "fd01:0:0:1:2000::1"},     // a pod that may not leave
		"web":     {"192.0.2.10", "2001:db8:2::10"},
		"nosnat":  {"192.0.2.11", "2001:db8:2::11"},
		"pool":    {"192.0.2.12", "2001:db8:2::12"},
		"every":   {"192.0.2.20", "2001:db8:2::20"},
		"empty":   {"192.0.2.21", "2001:db8:2::21"},
		"several": {"192.0.2.22", "2001:db8:2::22"},
		"beyond":  {"192.0.2.29", "2001:db8:2::2f"}, // in a subnet with every and several
		"snat1":   {"198.51.100.101", "2001:db8:51::101"},
		"snat2":   {"198.51.100.102", "2001:db8:51::102"},
		"all":     {"224.0.0.1", "ff02::1"},
		"link":    {"169.254.1.1", "fe80::1"},
		"limited": {"255.255.255.255", "ff05::2"},
	} {
		out[name+"4"], out[name+"6"] = netip.MustParseAddr(addrs[0]), netip.MustParseAddr(addrs[1])
		out[name] = out[name+family]
	}
	out["nat64"], out["nat46"] = netip.MustParseAddr("64:ff9b::203.0.113.10"), netip.MustParseAddr("10.2.2.7")
	out["nobody46"] = netip.MustParseAddr("10.2.2.8")
	for i, name := range []string{"hop", "narrow", "lost", "slim"} { // each as the other family knows it
		six := netip.MustParseAddr("64:ff9b::").As16()
		copy(six[12:], out[name+"4"].AsSlice())
		out[name+"64"], out[name+"46"] = netip.AddrFrom16(six), netip.AddrFrom4([4]byte{10, 2, 2, byte(20 + i)})
	}
	return out
}

// tableNAT46 are the IPv4 addresses that stand for hosts with IPv6.
func tableNAT46() map[netip.Addr]netip.Addr {
	h := tableHosts("6")
	return map[netip.Addr]netip.Addr{h["nat46"]: h["client6"], h["narrow46"]: h["narrow6"], h["lost46"]: h["lost6"]}
}

// tableState is what the tables' TMM is told: the virtual servers web, nosnat and pool, one a kind
// of source translation, with TCP and SCTP on port 80 and UDP on port 53 to ports 8080 and 5300 of
// pod; every, on every port; empty, without a member; several, with three members; egresses with
// and without translation.
func tableState() State {
	s := State{SelfIPs: labSelfIPs(), SNATPools: []SNATAddresses{{Name: "far"}}}
	for _, family := range []string{"4", "6"} {
		h := tableHosts(family)
		server := func(p Protocol, name string, port uint16, snat SNAT, to uint16, members ...string) {
			vs := VirtualServer{
				Name: "spk-apps/" + name + "-" + p.String() + "-" + family, Protocol: p,
				Destination: netip.AddrPortFrom(h[name], port), SNAT: snat,
			}
			if snat == SNATPool {
				vs.SNATPool = "far"
			}
			for _, m := range members {
				vs.Members = append(vs.Members, Member{Addr: netip.AddrPortFrom(h[m], to)})
			}
			s.VirtualServers = append(s.VirtualServers, vs)
		}
		for name, snat := range map[string]SNAT{"web": SNATAutomap, "nosnat": SNATNone, "pool": SNATPool} {
			server(TCP, name, 80, snat, 8080, "pod")
			server(SCTP, name, 80, snat, 8080, "pod")
			server(UDP, name, 53, snat, 5300, "pod")
		}
		for _, p := range []Protocol{TCP, UDP, SCTP} {
			server(p, "every", 0, SNATNone, 0, "pod")
		}
		server(TCP, "every", 443, SNATNone, 8443, "pod2")
		server(TCP, "empty", 80, SNATAutomap, 0)
		server(UDP, "empty", 53, SNATAutomap, 0)
		server(TCP, "several", 80, SNATAutomap, 8080, "pod", "pod2", "pod3")
		s.SNATPools[0].Addrs = append(s.SNATPools[0].Addrs, h["snat1"], h["snat2"])
	}
	egress := func(name string, snat SNAT, sources ...string) {
		e := Egress{Name: "spk-apps/" + name, SNAT: snat}
		if snat == SNATPool {
			e.SNATPool = "far"
		}
		for _, source := range sources {
			e.Sources = append(e.Sources, netip.MustParsePrefix(source))
		}
		s.Egresses = append(s.Egresses, e)
	}
	egress("automap", SNATAutomap, "10.131.1.0/24", "fd01:0:0:1::/67")
	egress("plain", SNATNone, "10.131.0.128/25", "fd01:0:0:1:8000::/65")
	egress("pooled", SNATPool, "10.131.0.64/26", "fd01:0:0:1:4000::/66")
	return s
}

// tableRoutes adds to the rig's routes what the tables need.
func (r *rig) tableRoutes(t testing.TB) {
	t.Helper()
	r.ns.narrowRoute(t, "203.0.113.200/32", "198.51.100.1", 1400)
	r.ns.narrowRoute(t, "2001:db8:113::c8/128", "2001:db8:51::1", 1400)
	r.ns.narrowRoute(t, "203.0.113.201/32", "198.51.100.1", 600)
	r.ns.unreachable(t, "203.0.113.250/32")
	r.ns.unreachable(t, "2001:db8:113::fa/128")
}

// flowMaps are the maps that packets fill.
func (r *rig) flowMaps() []*ebpf.Map {
	o := &r.d.objs
	return []*ebpf.Map{o.SpkCt4, o.SpkCt6, o.SpkHalf4, o.SpkHalf6, o.SpkFrags, o.SpkAffinities, o.SpkNat64}
}

// reset forgets every flow and applies a state.
func (r *rig) reset(t testing.TB, s State) {
	t.Helper()
	r.forget(t)
	r.apply(t, s)
}

// forget clears every flow.
func (r *rig) forget(t testing.TB) {
	t.Helper()
	for _, m := range r.flowMaps() {
		must(t, clearMap(m))
	}
}

// apply applies a state, unless it is the last one that was applied so.
func (r *rig) apply(t testing.TB, s State) {
	t.Helper()
	s = s.Canonical()
	if reflect.DeepEqual(s, r.applied) {
		return
	}
	_, err := r.d.Apply(s)
	must(t, err)
	r.applied = s
}

func clearMap(m *ebpf.Map) error {
	var keys [][]byte
	key, value := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
	for it := m.Iterate(); it.Next(&key, &value); {
		keys = append(keys, slices.Clone(key))
	}
	for _, k := range keys {
		if err := m.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// ports are those of translated sources, both included.
func (r *rig) ports() (low, high uint16) {
	var c bpf.Config
	if r.d.objs.SpkConfig.Lookup(uint32(0), &c) != nil {
		return 1, 0
	}
	return c.PortMin, c.PortMax
}

// established counts the connections in conntrack, without the half-open ones.
func (r *rig) established(t testing.TB) int {
	t.Helper()
	four, err := readAll[bpf.Key4, bpf.Ct4](r.d.objs.SpkCt4)
	must(t, err)
	six, err := readAll[bpf.Key6, bpf.Ct6](r.d.objs.SpkCt6)
	must(t, err)
	return (len(four) + len(six)) / 2
}

// checkPairs fails unless every entry has that of the other direction in the same table.
func (r *rig) checkPairs(t testing.TB) {
	t.Helper()
	must(t, checkPairs(r.d.table4()))
	must(t, checkPairs(r.d.table6()))
}

func checkPairs[K, V comparable](t table[K, V]) error {
	for _, m := range []*ebpf.Map{t.m, t.half} {
		entries, err := readAll[K, V](m)
		if err != nil {
			return err
		}
		for k, v := range entries {
			if t.ct(&v).Flags&bpf.CtFamily != 0 {
				continue // the other one is in the other family's table
			}
			peer, ok := entries[t.peer(&k, &v)]
			if !ok {
				return fmt.Errorf("%s: no entry of the other direction of %+v: %+v", m, k, v)
			}
			a, b := t.ct(&v), t.ct(&peer)
			if a.Owner != b.Owner || (a.Flags^b.Flags)&bpf.CtForward == 0 || t.peer(&k, &v) == k {
				return fmt.Errorf("%s: %+v: %+v and %+v are no pair", m, k, v, peer)
			}
		}
	}
	return nil
}
