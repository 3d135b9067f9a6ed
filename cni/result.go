package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Result is what an attachment came to. The addresses are those of the first interface.
type Result struct {
	Interfaces []Interface
	Assigned
	DNS DNS
}

// Interface is an interface of a result.
type Interface struct {
	Name    string `json:"name"`
	MAC     string `json:"mac,omitempty"`
	Sandbox string `json:"sandbox,omitempty"` // path of its network namespace
}

// resultIP is an address as results of 0.3.0 and later have it.
type resultIP struct {
	Version   string `json:"version,omitempty"` // before 1.0.0
	Interface *int   `json:"interface,omitempty"`
	IP
}

// familyResult is the one address of a family as results before 0.3.0 have it.
type familyResult struct {
	IP      string  `json:"ip"`
	Gateway string  `json:"gateway,omitempty"`
	Routes  []Route `json:"routes,omitempty"`
}

// Encode prints the result in a version of the specification as plugins do: indented, without a line end.
// Before 0.3.0 a result needs an address.
func (r Result) Encode(version string) ([]byte, error) {
	if version == "" {
		version = "0.1.0"
	}
	at := slices.Index(Versions(), version)
	switch {
	case at < 0:
		return nil, fmt.Errorf("incompatible CNI versions: %q is none of %v", version, Versions())
	case version < "0.3.0":
		return r.encodeOld(version)
	}
	out := struct {
		CNIVersion string      `json:"cniVersion,omitempty"`
		Interfaces []Interface `json:"interfaces,omitempty"`
		IPs        []resultIP  `json:"ips,omitempty"`
		Routes     []Route     `json:"routes,omitempty"`
		DNS        DNS         `json:"dns"`
	}{version, r.Interfaces, nil, r.Routes, r.DNS}
	for _, ip := range r.IPs {
		first := 0
		entry := resultIP{Interface: &first, IP: ip}
		if version < "1.0.0" {
			entry.Version = map[bool]string{true: "4", false: "6"}[ip.Address.Addr().Is4()]
		}
		out.IPs = append(out.IPs, entry)
	}
	return json.MarshalIndent(out, "", "    ")
}

func (r Result) encodeOld(version string) ([]byte, error) {
	out := struct {
		CNIVersion string        `json:"cniVersion,omitempty"`
		IP4        *familyResult `json:"ip4,omitempty"`
		IP6        *familyResult `json:"ip6,omitempty"`
		DNS        DNS           `json:"dns"`
	}{CNIVersion: version, DNS: r.DNS}
	for _, ip := range r.IPs {
		f := &familyResult{IP: ip.Address.String()}
		if ip.Gateway.IsValid() {
			f.Gateway = ip.Gateway.String()
		}
		for _, route := range r.Routes {
			if route.Dst.Addr().Is4() == ip.Address.Addr().Is4() {
				f.Routes = append(f.Routes, route)
			}
		}
		if ip.Address.Addr().Is4() && out.IP4 == nil {
			out.IP4 = f
		} else if ip.Address.Addr().Is6() && out.IP6 == nil {
			out.IP6 = f
		}
	}
	if out.IP4 == nil && out.IP6 == nil {
		return nil, errors.New("cannot convert: no valid IP addresses")
	}
	return json.MarshalIndent(out, "", "    ")
}
