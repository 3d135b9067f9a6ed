package control

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/dns46"
)

// DNS46 is the DNS proxy that a TMM runs for an egress with NAT46.
type DNS46 struct {
	Egress   string           `json:"egress"`   // namespace/name
	Listen   []netip.AddrPort `json:"listen"`   // internal self-IPs
	Upstream []netip.AddrPort `json:"upstream"` // asked in turn
	Subnet   netip.Prefix     `json:"subnet"`   // what its answers are from
	MaxTTL   time.Duration    `json:"max_ttl"`
}

// resolve plans the DNS proxy of an egress with NAT46. What it tells pods stands for something in
// this TMM alone, so there is none where a pod's packets may take another one, and one a TMM.
func (p *planner) resolve(ref string, e *api.F5SPKEgress, out *dataplane.Egress) {
	if !out.NAT46.IsValid() {
		return
	}
	d := DNS46{Egress: out.Name, Subnet: out.NAT46, MaxTTL: e.Spec.DNS46TTL()}
	cache := p.res.DNSCache(e.Spec.DNSCacheName)
	switch n := p.tmms(); {
	case n > 1:
		p.fail(ReasonNotSupported, ref, fmt.Sprintf("DNS46 answers nobody: of %d TMMs each would know the addresses of its own answers only, and a pod's packets take any of them; run one TMM", n))
	case p.out.DNS46 != nil:
		p.fail(ReasonConflict, ref, fmt.Sprintf("DNS46 is that of the egress %s already: this one answers nobody", p.out.DNS46.Egress))
	case cache == nil && e.Spec.DNSCacheName != "":
		p.fail(ReasonInput, ref, fmt.Sprintf("DNS46 answers nobody: there is no %s %q", api.KindDNSCache, e.Spec.DNSCacheName))
	case cache == nil:
		p.fail(ReasonInput, ref, fmt.Sprintf("DNS46 answers nobody: it has no name server to ask; write dnsCacheName: and the name of a %s", api.KindDNSCache))
	default:
		d.Upstream = cache.Spec.NameServers()
		d.Listen = p.listensForDNS(out.Interfaces)
		if len(d.Listen) > 0 {
			p.out.DNS46 = &d
		}
	}
}

// tmms is how many TMMs there are, those that are about to go left out.
func (p *planner) tmms() int {
	n := 0
	for i := range p.res.Pods {
		if pod := &p.res.Pods[i]; pod.Annotations[api.AnnotationTMMIndex] != "" && pod.DeletionTimestamp == nil {
			n++
		}
	}
	return n
}

// listensForDNS are the IPv4 self-IPs of internal VLANs, of all where no interfaces are named:
// who has IPv6 needs no DNS46.
func (p *planner) listensForDNS(interfaces []string) []netip.AddrPort {
	var out []netip.AddrPort
	for i := range p.vlans {
		v := &p.vlans[i]
		self := v.addr(true)
		if !v.spec.Internal || !self.IsValid() || len(interfaces) > 0 && !slices.Contains(interfaces, v.number) {
			continue
		}
		if !v.spec.Allows(corev1.ProtocolUDP, api.PortDNS) || !v.spec.Allows(corev1.ProtocolTCP, api.PortDNS) {
			p.warn(ReasonInput, v.ref, "allowed_services does not list DNS, which DNS46 is asked by; write {protocol: udp, port: 53} and {protocol: tcp, port: 53}")
		}
		out = append(out, netip.AddrPortFrom(self, api.PortDNS))
	}
	return out
}

// translator is the packet path of NAT46, as the DNS proxy needs it.
type translator interface {
	NAT46() (map[netip.Addr]netip.Addr, error)
	SetNAT46(map[netip.Addr]netip.Addr) error
}

// resolver runs the DNS proxy that is wanted. Its methods are called by one goroutine.
type resolver struct {
	plane  translator
	log    *ctl.Log
	failed func() // the proxy has ended by itself: set wants to be called again

	running *DNS46 // nil: none
	cancel  context.CancelFunc
	done    chan error // the running one's end
}

// set brings the resolver to what is wanted, nil for none, whose mappings are forgotten. An error
// is of the proxy that is wanted: it does not run.
func (r *resolver) set(want *DNS46) error {
	if r.running != nil {
		select {
		case err := <-r.done:
			r.cancel()
			r.running = nil
			return err // the next call begins again
		default:
		}
	}
	if reflect.DeepEqual(want, r.running) {
		return nil
	}
	if err := r.stop(); err != nil || want == nil {
		return errors.Join(err, r.plane.SetNAT46(nil))
	}
	return r.start(*want)
}

func (r *resolver) start(want DNS46) error {
	known, err := r.plane.NAT46()
	if err != nil {
		return err
	}
	p, err := dns46.New(dns46.Config{
		Listen: want.Listen, Upstream: want.Upstream, Subnet: want.Subnet, MaxTTL: want.MaxTTL,
		Map: r.plane.SetNAT46, Known: known, Log: r.log,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	r.running, r.cancel, r.done = &want, cancel, done
	go func() {
		err := p.Run(ctx)
		done <- err
		if err != nil {
			r.failed()
		}
	}()
	return nil
}

// stop ends the proxy and waits for its end. What it told its clients stays.
func (r *resolver) stop() error {
	if r.running == nil {
		return nil
	}
	r.cancel()
	r.running = nil
	return <-r.done
}
