package cni

import (
	"errors"
	"fmt"
	"net/netip"
)

// The plugins that decide on addresses.
const (
	TypeHostLocal = "host-local"
	TypeStatic    = "static"
)

// IPAM says who decides on the addresses of an interface. The zero value, `"ipam": {}`, gives none.
type IPAM struct {
	Type   string  `json:"type,omitempty"`
	Routes []Route `json:"routes,omitempty"`

	// host-local: one range beside the list of sets of ranges, from each of which comes one address
	Range
	Ranges  [][]Range `json:"ranges,omitempty"`
	DataDir string    `json:"dataDir,omitempty"` // passed over: a lab keeps them in its state directory

	// static
	Addresses []Address `json:"addresses,omitempty"`
	DNS       DNS       `json:"dns,omitzero"`
}

// Range is a range of host-local.
type Range struct {
	Subnet     netip.Prefix `json:"subnet,omitzero"`
	RangeStart netip.Addr   `json:"rangeStart,omitzero"` // the first one of the subnet when empty
	RangeEnd   netip.Addr   `json:"rangeEnd,omitzero"`   // the last one when empty, IPv4: before broadcast
	Gateway    netip.Addr   `json:"gateway,omitzero"`    // the first one of the subnet when empty; never given out
}

// Address is an address of static.
type Address struct {
	Address netip.Prefix `json:"address"` // with its prefix length
	Gateway netip.Addr   `json:"gateway,omitzero"`
}

// Route is a route by the interface; without a gateway it takes that of an address of its family.
type Route struct {
	Dst netip.Prefix `json:"dst"`
	GW  netip.Addr   `json:"gw,omitzero"`
}

// IP is an address that was decided on.
type IP struct {
	Address netip.Prefix `json:"address"`
	Gateway netip.Addr   `json:"gateway,omitzero"`
}

// Assigned is what was decided on for one interface.
type Assigned struct {
	IPs    []IP    `json:"ips,omitempty"`
	Routes []Route `json:"routes,omitempty"`
}

// Via is the gateway that a route takes, invalid for none.
func (a *Assigned) Via(r Route) netip.Addr {
	if r.GW.IsValid() {
		return r.GW
	}
	for _, ip := range a.IPs {
		if ip.Gateway.IsValid() && ip.Gateway.Is4() == r.Dst.Addr().Is4() {
			return ip.Gateway
		}
	}
	return netip.Addr{}
}

// Owner is one interface of one container, which addresses belong to.
type Owner struct {
	Container string // as host-local writes it
	Interface string
}

// Assign decides on the addresses of an interface, nil without IPAM and for one that is not run here. requested are what the runtime asks
// for: static has them instead of its own with the capability ips and beside them without, host-local
// takes them out of its ranges. store holds host-local's reservations and is changed by them; asking
// again for the same owner gives the same.
func Assign(c Config, store Reservations, who Owner, requested []netip.Prefix) (*Assigned, error) {
	switch c.IPAM.Type {
	case TypeStatic:
		return c.static(requested)
	case TypeHostLocal:
		return c.hostLocal(store, who, requested)
	}
	return nil, nil
}

func (c *Config) static(requested []netip.Prefix) (*Assigned, error) {
	out := &Assigned{Routes: c.IPAM.Routes}
	if len(requested) == 0 || !c.Capabilities["ips"] {
		for _, a := range c.IPAM.Addresses {
			out.IPs = append(out.IPs, IP(a))
		}
	}
	for _, p := range requested {
		out.IPs = append(out.IPs, IP{Address: p})
	}
	if len(out.IPs) == 0 {
		return nil, errors.New("IPAM plugin returned missing IP config: static without addresses")
	}
	return out, nil
}

func (c *Config) checkIPAM() []Problem {
	switch c.IPAM.Type {
	case "":
		return nil
	case TypeStatic:
		var out []Problem
		for _, a := range c.IPAM.Addresses {
			if !a.Address.IsValid() {
				out = append(out, Problem{Text: "addresses", Message: `static: an entry of addresses without an address; write "address": "192.0.2.7/24"`})
			}
		}
		return append(out, c.checkRoutes()...)
	case TypeHostLocal:
		if _, err := c.IPAM.ranges(); err != nil {
			return append([]Problem{{Text: TypeHostLocal, Message: "host-local: " + err.Error()}}, c.checkRoutes()...)
		}
		return c.checkRoutes()
	}
	return []Problem{{Text: c.IPAM.Type, Warning: true, Message: fmt.Sprintf("ipam of type %q is not run here: the interface comes up without addresses; write host-local, static or {}", c.IPAM.Type)}}
}

func (c *Config) checkRoutes() []Problem {
	for _, r := range c.IPAM.Routes {
		if !r.Dst.IsValid() || r.Dst != r.Dst.Masked() {
			return []Problem{{Text: "routes", Message: `a route without a network; write "dst": "198.51.100.0/24"`}}
		}
		if r.GW.IsValid() && r.GW.Is4() != r.Dst.Addr().Is4() {
			return []Problem{{Text: r.GW.String(), Message: fmt.Sprintf("the gateway %s of %s is of the other family", r.GW, r.Dst)}}
		}
	}
	return nil
}
