package api

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// routingServices finds VLANs on whose far side a BGP neighbor is and that do not list BGP or
// BFD as allowed: what a list leaves out is refused.
func (c *checker) routingServices(neighbors []NeighborValues) {
	for i := range c.r.VLANs {
		v := &c.r.VLANs[i]
		var missing []string
		for j := range neighbors {
			if n := &neighbors[j]; n.IP.IsValid() && v.Spec.Holds(n.IP) {
				missing = append(missing, v.Spec.Unlisted(n)...)
			}
		}
		slices.Sort(missing)
		if missing = slices.Compact(missing); len(missing) > 0 {
			c.add(SeverityWarning, Ref(KindVLAN, v), `write allowed_services: [{protocol: tcp, port: "179"}], and UDP 3784 for BFD`,
				"allowed_services does not list %s, and a BGP neighbor is in the VLAN's network", strings.Join(missing, " and "))
		}
	}
}

func (c *checker) egresses() {
	for i := range c.r.Egresses {
		e := &c.r.Egresses[i]
		object := Ref(KindEgress, e)
		if _, pool := e.Spec.Translation(); pool != "" {
			c.poolRef(object, "egressSnatpool", pool)
		}
		c.egressVLANs(object, e.Spec.VLANs)
		if most, tmms := e.Spec.MaxTMMReplicas, c.replicas(); most != 0 && most < tmms {
			c.add(SeverityWarning, object, fmt.Sprintf("write maxTmmReplicas: %d, the number of self-IPs", max(tmms, c.capacity())),
				"maxTmmReplicas is %d, and there are to be %d TMMs", most, tmms)
		} else if own := c.capacity(); most != 0 && own != 0 && most != own {
			c.add(SeverityWarning, object, fmt.Sprintf("write maxTmmReplicas: %d", own), "maxTmmReplicas is %d, and the VLANs hold self-IPs for %d TMMs", most, own)
		}
	}
}

// capacity is for how many TMMs every VLAN has a self-IP, 0 without VLANs.
func (c *checker) capacity() int {
	n := 0
	for i := range c.r.VLANs {
		s := &c.r.VLANs[i].Spec
		if own := max(len(s.SelfIPv4s), len(s.SelfIPv6s)); own > 0 && (n == 0 || own < n) {
			n = own
		}
	}
	return n
}

func (c *checker) egressVLANs(object string, l *EgressVLANs) {
	if l == nil {
		return
	}
	for _, name := range l.VLANList {
		if !slices.ContainsFunc(c.r.VLANs, func(v F5SPKVlan) bool { return v.IsCalled(name) }) {
			c.add(SeverityWarning, object, "write the spec.name of a F5SPKVlan", "vlans.vlanList names %q, and there is no such F5SPKVlan", name)
		}
	}
}

// poolRef looks for the SNAT pool that an object names.
func (c *checker) poolRef(object, field, name string) {
	if c.r.Snatpool(name) != nil {
		return
	}
	hint := "create it"
	for j := range c.r.Snatpools {
		if p := &c.r.Snatpools[j]; p.Name == name {
			hint = fmt.Sprintf("write its spec.name %q, not its metadata.name", p.Spec.Name)
		}
	}
	c.add(SeverityError, object, hint, "%s %q is no spec.name of a F5SPKSnatpool", field, strings.TrimSpace(name))
}

// snatpools compares the pools with each other, with the TMMs, and with the other addresses.
func (c *checker) snatpools() {
	owners := c.addresses()
	names := map[string]string{}
	for i := range c.r.Snatpools {
		p := &c.r.Snatpools[i]
		object := Ref(KindSnatpool, p)
		if other, ok := names[p.Pool()]; ok {
			c.add(SeverityError, object, "give each its own spec.name", "spec.name %q is also the name of %s", p.Pool(), other)
			continue
		}
		names[p.Pool()] = object
		if !c.uses(p.Pool()) {
			c.add(SeverityWarning, object, "write egressSnatpool or snatpool, or remove it", "nothing refers to the pool %q: its addresses are not announced", p.Pool())
		}
		if n, tmms := len(p.Spec.AddressList), c.replicas(); n < tmms && !p.Spec.SharedSnatAddressEnabled {
			c.add(SeverityError, object, fmt.Sprintf("write %d lists, or lower tmm.replicaCount", tmms), "addressList holds %d lists for %d TMM replicas: TMM %d gets none", n, tmms, n+1)
		}
		for _, a := range slices.Concat(p.Spec.AddressList...) {
			if other, ok := owners[a]; ok && other != object {
				c.add(SeverityError, object, "give the pool addresses of its own", "%s is also an address of %s", a, other)
			}
			owners[a] = object
		}
	}
}

// addresses are the self-IPs and the hosts that virtual servers are, with who has each.
func (c *checker) addresses() map[netip.Addr]string {
	out := map[netip.Addr]string{}
	for i := range c.r.VLANs {
		v := &c.r.VLANs[i]
		for _, a := range slices.Concat(v.Spec.SelfIPv4s, v.Spec.SelfIPv6s) {
			out[a] = Ref(KindVLAN, v)
		}
	}
	for _, in := range c.r.Ingresses() {
		for _, dst := range in.Spec.Destinations() {
			if dst.IsSingleIP() {
				out[dst.Addr()] = in.Ref()
			}
		}
	}
	return out
}

// uses says whether an egress or a virtual server refers to a pool.
func (c *checker) uses(name string) bool {
	for i := range c.r.Egresses {
		if _, pool := c.r.Egresses[i].Spec.Translation(); pool == name {
			return true
		}
	}
	return slices.ContainsFunc(c.r.Ingresses(), func(in Ingress) bool {
		_, pool := in.Spec.Translation()
		return pool == name
	})
}
