package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spklab/spklab/dataplane/bpf"
)

// accept splits a canonical state into what can be programmed and what cannot. low and high bound the
// ports of translated sources. Of several objects with one key the first has it. An egress that is
// refused lets nothing out, rather than that its sources leave by that of a larger network.
func (s State) accept(low, high uint16) (State, []*Refusal) {
	a := acceptor{}
	a.selfIPs(s.SelfIPs)
	a.services(s.Services)
	a.pools(s.SNATPools, low, high)
	a.servers(s.VirtualServers)
	a.egresses(s.Egresses)
	return a.out, a.refused
}

// acceptor collects the parts of a state that can be programmed.
type acceptor struct {
	out     State
	refused []*Refusal
}

func (a *acceptor) refuse(r *Refusal) { a.refused = append(a.refused, r) }

func (a *acceptor) servers(servers []VirtualServer) {
	a.out.VirtualServers = make([]VirtualServer, 0, len(servers))
	have := map[serverKey]string{}
	for _, vs := range servers {
		other, taken := have[vs.key()]
		err := vs.Check()
		switch {
		case taken:
			a.refuse(vs.refusal(fmt.Errorf("%s and %s both have it", other, vs.Name)))
		case err != nil:
			a.refuse(vs.refusal(err))
		case vs.SNAT == SNATPool && !a.hasPool(vs.SNATPool):
			a.refuse(vs.refusal(fmt.Errorf("no SNAT pool %q", vs.SNATPool)))
		default:
			have[vs.key()] = vs.Name
			a.out.VirtualServers = append(a.out.VirtualServers, vs)
		}
	}
}

func (a *acceptor) hasPool(name string) bool {
	return slices.ContainsFunc(a.out.SNATPools, func(p SNATAddresses) bool { return p.Name == name })
}

// Check says what keeps the virtual server from being programmed, whatever else is.
func (v VirtualServer) Check() error {
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

func (a *acceptor) egresses(egresses []Egress) {
	a.out.Egresses = make([]Egress, 0, len(egresses))
	names, sources := map[string]bool{}, map[netip.Prefix]string{}
	for _, e := range egresses {
		if err := e.checkKeys(names, sources); err != nil {
			a.refuse(e.refusal(err))
			continue
		}
		names[e.Name] = true
		for _, p := range e.Sources {
			sources[p] = e.Name
		}
		err := e.Check()
		if err == nil && e.SNAT == SNATPool && !a.hasPool(e.SNATPool) {
			err = fmt.Errorf("no SNAT pool %q", e.SNATPool)
		}
		if err != nil {
			a.refuse(e.refusal(err))
			e = Egress{Name: e.Name, Sources: e.Sources, SNAT: SNATPool} // of none
		}
		a.out.Egresses = append(a.out.Egresses, e)
	}
}

// checkKeys says what keeps the egress from standing beside the others.
func (e Egress) checkKeys(names map[string]bool, sources map[netip.Prefix]string) error {
	if names[e.Name] {
		return errors.New("stands twice")
	}
	if err := checkName(e.Name); err != nil {
		return err
	}
	for _, p := range e.Sources {
		if !p.IsValid() || p.Addr().Is4In6() {
			return errors.New("no valid source")
		}
		if other, ok := sources[p]; ok {
			return fmt.Errorf("source %s: %s and %s both have it", p, other, e.Name)
		}
	}
	return nil
}

// Check says what keeps the egress from being programmed, but for its name and its sources.
func (e Egress) Check() error {
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

func (a *acceptor) selfIPs(ips []SelfIP) {
	a.out.SelfIPs = make([]SelfIP, 0, len(ips))
	seen := map[netip.Addr]string{}
	for _, ip := range ips {
		other, taken := seen[ip.Addr]
		refuse := func(format string, args ...any) {
			a.refuse(&Refusal{Kind: KindSelfIP, Name: ip.Addr.String(), Err: fmt.Errorf(format, args...)})
		}
		switch {
		case !ip.Addr.IsValid() || ip.Addr.Zone() != "":
			refuse("self-IP of %s: no valid address", ip.Interface)
		case taken:
			refuse("self-IP %s: %s and %s both have it", ip.Addr, other, ip.Interface)
		case len(ip.Interface) >= len(bpf.Local{}.Interface):
			refuse("self-IP %s: interface %q: longer than a number", ip.Addr, ip.Interface)
		default:
			seen[ip.Addr] = ip.Interface
			a.out.SelfIPs = append(a.out.SelfIPs, ip)
		}
	}
}

func (a *acceptor) services(services []Services) {
	for _, s := range services {
		refuse := func(format string, args ...any) {
			a.refuse(&Refusal{Kind: KindServices, Name: s.Interface, Err: fmt.Errorf(format, args...)})
		}
		switch {
		case slices.ContainsFunc(a.out.Services, func(o Services) bool { return o.Interface == s.Interface }):
			refuse("services of %s stand twice", s.Interface)
		case !isNumber(s.Interface):
			refuse("services of interface %q: longer than a number, or none", s.Interface)
		default:
			a.out.Services = append(a.out.Services, s)
		}
	}
}

func (a *acceptor) pools(pools []SNATAddresses, low, high uint16) {
	for _, p := range pools {
		err := p.Check()
		if err == nil {
			err = p.checkOwnPorts(a.out.SelfIPs, low, high)
		}
		switch {
		case a.hasPool(p.Name):
			a.refuse(p.refusal(errors.New("stands twice")))
		case err != nil:
			a.refuse(p.refusal(err))
		default:
			a.out.SNATPools = append(a.out.SNATPools, p)
		}
	}
}

func checkName(name string) error {
	if len(name) >= len(bpf.VSInfo{}.Name) {
		return fmt.Errorf("name of %d bytes: at most %d fit", len(name), len(bpf.VSInfo{}.Name)-1)
	}
	return nil
}
