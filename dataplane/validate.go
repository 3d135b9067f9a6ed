package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spklab/spklab/dataplane/bpf"
)

// check says what keeps a canonical state from being programmed; every fault, joined.
func (s State) check() error {
	var errs []error
	servers := map[serverKey]string{}
	for _, vs := range s.VirtualServers {
		if other, ok := servers[vs.key()]; ok {
			errs = append(errs, fmt.Errorf("virtual server %s: %s and %s both have it", vs.key(), other, vs.Name))
		}
		servers[vs.key()] = vs.Name
		if err := vs.check(); err != nil {
			errs = append(errs, fmt.Errorf("virtual server %s (%s): %w", vs.key(), vs.Name, err))
		}
	}
	errs = append(errs, checkEgresses(s.Egresses), checkSelfIPs(s.SelfIPs), checkServices(s.Services), s.checkSNATPools())
	return errors.Join(errs...)
}

func (v VirtualServer) check() error {
	if v.Protocol != TCP && v.Protocol != UDP && v.Protocol != SCTP {
		return fmt.Errorf("protocol %s is not balanced", v.Protocol)
	}
	if v.SNAT > SNATPool || v.Method > Maglev || v.DownAction > DownReselect {
		return fmt.Errorf("snat %s, method %s, down action %s: not known", v.SNAT, v.Method, v.DownAction)
	}
	if v.HostBits < 0 || v.HostBits > v.Destination.Addr().BitLen() {
		return fmt.Errorf("%d host bits: an address has %d", v.HostBits, v.Destination.Addr().BitLen())
	}
	if v.HostBits > 0 && v.ARP {
		return errors.New("a subnet does not answer ARP")
	}
	if !v.Destination.Addr().IsValid() || v.Destination.Addr().Zone() != "" {
		return errors.New("no valid destination")
	}
	if err := checkName(v.Name); err != nil {
		return err
	}
	if v.IdleTimeout < 0 {
		return fmt.Errorf("idle timeout %s is negative", v.IdleTimeout)
	}
	if v.Affinity < 0 {
		return fmt.Errorf("affinity %s is negative", v.Affinity)
	}
	for i, m := range v.Members {
		if m.Addr.Addr().Is4() != v.Destination.Addr().Is4() || !m.Addr.Addr().IsValid() {
			return fmt.Errorf("member %s is not of the destination's address family", m.Addr)
		}
		if i > 0 && v.Members[i-1].Addr == m.Addr {
			return fmt.Errorf("member %s stands twice", m.Addr)
		}
	}
	return nil
}

func checkEgresses(egresses []Egress) error {
	var errs []error
	names, sources := map[string]bool{}, map[netip.Prefix]string{}
	for _, e := range egresses {
		if names[e.Name] {
			errs = append(errs, fmt.Errorf("egress %s stands twice", e.Name))
		}
		names[e.Name] = true
		if err := checkName(e.Name); err != nil {
			errs = append(errs, fmt.Errorf("egress %q: %w", e.Name, err))
		}
		if err := e.check(); err != nil {
			errs = append(errs, fmt.Errorf("egress %s: %w", e.Name, err))
		}
		for _, p := range e.Sources {
			if !p.IsValid() || p.Addr().Is4In6() {
				errs = append(errs, fmt.Errorf("egress %s: no valid source", e.Name))
				continue
			}
			if other, ok := sources[p]; ok {
				errs = append(errs, fmt.Errorf("egress source %s: %s and %s both have it", p, other, e.Name))
			}
			sources[p] = e.Name
		}
	}
	return errors.Join(errs...)
}

func (e Egress) check() error {
	if e.SNAT > SNATPool {
		return fmt.Errorf("snat %s: not known", e.SNAT)
	}
	for _, number := range e.Interfaces {
		if !isNumber(number) || strings.Contains(number, ",") {
			return fmt.Errorf("interface %q: not a number", number)
		}
	}
	if list := strings.Join(e.Interfaces, ","); len(list) >= len(bpf.EgressInfo{}.Interfaces) {
		return fmt.Errorf("interfaces %s: longer than %d bytes", list, len(bpf.EgressInfo{}.Interfaces)-1)
	}
	if p := e.NAT64; p.IsValid() && (p.Bits() != 96 || !p.Addr().Is6() || p.Addr().IsUnspecified()) {
		return fmt.Errorf("NAT64 prefix %s: want an IPv6 /96 (RFC 6052)", p)
	}
	if p := e.NAT46; p.IsValid() && (!p.Addr().Is4() || p.Bits() == 0) {
		return fmt.Errorf("NAT46 prefix %s: want an IPv4 network", p)
	}
	return nil
}

func checkSelfIPs(ips []SelfIP) error {
	var errs []error
	seen := map[netip.Addr]string{}
	for _, ip := range ips {
		if !ip.Addr.IsValid() || ip.Addr.Zone() != "" {
			errs = append(errs, fmt.Errorf("self-IP of %s: no valid address", ip.Interface))
		}
		if other, ok := seen[ip.Addr]; ok {
			errs = append(errs, fmt.Errorf("self-IP %s: %s and %s both have it", ip.Addr, other, ip.Interface))
		}
		seen[ip.Addr] = ip.Interface
		if len(ip.Interface) >= len(bpf.Local{}.Interface) {
			errs = append(errs, fmt.Errorf("self-IP %s: interface %q: longer than a number", ip.Addr, ip.Interface))
		}
	}
	return errors.Join(errs...)
}

func checkName(name string) error {
	if len(name) >= len(bpf.VSInfo{}.Name) {
		return fmt.Errorf("name of %d bytes: at most %d fit", len(name), len(bpf.VSInfo{}.Name)-1)
	}
	return nil
}
