// Package dns46 is a DNS proxy for clients that have only IPv4: where a name has no IPv4
// address, it answers with one of a subnet of its own that stands for the name's IPv6 address,
// and tells the packet path so (the DNS half of F5SPKEgress dnsNat46Enabled; the other way round
// as RFC 6147).
package dns46

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"github.com/spklab/spklab/ctl"
)

// Config says what a Proxy does.
type Config struct {
	Listen   []netip.AddrPort // UDP and TCP
	Upstream []netip.AddrPort // asked in turn until one answers
	Subnet   netip.Prefix     // IPv4, where the addresses come from
	MaxTTL   time.Duration    // how long a client may keep an answer that was made up
	Timeout  time.Duration    // for an upstream's answer, 0 = two seconds
	// Map programs which IPv6 addresses the addresses of Subnet stand for: all of them, each
	// time one is added. A name is answered only when Map has returned nil.
	Map func(map[netip.Addr]netip.Addr) error
	// Known are mappings of a Proxy before this one, which its clients may still use. Those
	// outside Subnet are forgotten.
	Known map[netip.Addr]netip.Addr
	Log   *ctl.Log // nil drops events
}

// Proxy answers until its context ends.
type Proxy struct {
	cfg      Config
	mappings *mappings
	exchange func(ctx context.Context, network string, q *dns.Msg, server string) (*dns.Msg, error)
	now      func() time.Time
}

// New checks the configuration.
func New(c Config) (*Proxy, error) {
	switch {
	case len(c.Listen) == 0:
		return nil, errors.New("DNS46: no address to listen on")
	case len(c.Upstream) == 0:
		return nil, errors.New("DNS46: no name server to ask")
	case !c.Subnet.IsValid() || !c.Subnet.Addr().Is4() || c.Subnet.Bits() > 30:
		return nil, fmt.Errorf("DNS46: subnet %s: want an IPv4 prefix of 30 bits or fewer", c.Subnet)
	case c.MaxTTL < time.Second:
		return nil, fmt.Errorf("DNS46: TTL %s: want at least a second", c.MaxTTL)
	}
	if c.Timeout == 0 {
		c.Timeout = 2 * time.Second
	}
	m := newMappings(c.Subnet, c.Map)
	m.adopt(c.Known, time.Now().Add(2*c.MaxTTL))
	return &Proxy{cfg: c, mappings: m, exchange: exchange, now: time.Now}, nil
}

// Run serves until ctx ends, which is no error. When it returns nothing listens any more.
func (p *Proxy) Run(ctx context.Context) error {
	servers, err := listen(p.cfg.Listen)
	if err != nil {
		return err
	}
	g, serving := errgroup.WithContext(ctx)
	for _, s := range servers {
		s.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			// Nobody is left to tell of a client that is gone.
			_ = w.WriteMsg(p.answer(serving, s.Net, q))
		})
		g.Go(s.ActivateAndServe)
	}
	stop := context.AfterFunc(serving, func() { shut(servers) })
	defer stop()
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve DNS: %w", err)
	}
	return nil
}

// listen binds all addresses over UDP and TCP, or none.
func listen(at []netip.AddrPort) ([]*dns.Server, error) {
	var out []*dns.Server
	for _, a := range at {
		for _, network := range []string{"udp", "tcp"} {
			s := &dns.Server{Net: network}
			var err error
			if network == "udp" {
				s.PacketConn, err = net.ListenPacket(network, a.String())
			} else {
				s.Listener, err = net.Listen(network, a.String())
			}
			if err != nil {
				shut(out)
				return nil, fmt.Errorf("listen for DNS on %s: %w", a, err)
			}
			out = append(out, s)
		}
	}
	return out, nil
}

// shut ends servers, those too that have not begun.
func shut(servers []*dns.Server) {
	for _, s := range servers {
		switch {
		case s.Shutdown() == nil:
		case s.PacketConn != nil:
			_ = s.PacketConn.Close() // closed twice: harmless
		default:
			_ = s.Listener.Close()
		}
	}
}

func exchange(ctx context.Context, network string, q *dns.Msg, server string) (*dns.Msg, error) {
	c := dns.Client{Net: network}
	r, _, err := c.ExchangeContext(ctx, q, server)
	return r, err
}

// answer is the reply to one query: the upstream's own, but for a name that has IPv6 addresses
// and no IPv4 ones.
func (p *Proxy) answer(ctx context.Context, network string, q *dns.Msg) *dns.Msg {
	if len(q.Question) != 1 || q.Opcode != dns.OpcodeQuery {
		return failure(q, dns.RcodeNotImplemented)
	}
	r, err := p.ask(ctx, network, q)
	if err != nil {
		p.cfg.Log.Add("dns46-upstream", q.Question[0].Name, err.Error())
		return failure(q, dns.RcodeServerFailure)
	}
	if q.Question[0].Qtype != dns.TypeA || r.Rcode != dns.RcodeSuccess || has(r, dns.TypeA) {
		return r
	}
	six := q.Copy()
	six.Question[0].Qtype = dns.TypeAAAA
	aaaa, err := p.ask(ctx, network, six)
	if err != nil || aaaa.Rcode != dns.RcodeSuccess || !has(aaaa, dns.TypeAAAA) {
		return r // the name has neither, as far as is known
	}
	made, err := p.synthesize(q, aaaa)
	if err != nil {
		p.cfg.Log.Add("dns46-refused", q.Question[0].Name, err.Error())
		return failure(q, dns.RcodeServerFailure)
	}
	return made
}

// ask tries the upstreams in turn.
func (p *Proxy) ask(ctx context.Context, network string, q *dns.Msg) (*dns.Msg, error) {
	var errs []error
	for _, server := range p.cfg.Upstream {
		ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
		r, err := p.exchange(ctx, network, q, server.String())
		cancel()
		if err == nil {
			return r, nil
		}
		errs = append(errs, fmt.Errorf("ask %s: %w", server, err))
	}
	return nil, errors.Join(errs...)
}

// synthesize turns an answer's IPv6 addresses into those that stand for them.
func (p *Proxy) synthesize(q, aaaa *dns.Msg) (*dns.Msg, error) {
	r := new(dns.Msg)
	r.SetReply(q)
	r.RecursionAvailable = aaaa.RecursionAvailable
	now := p.now()
	for _, rr := range aaaa.Answer {
		switch rr := rr.(type) {
		case *dns.AAAA:
			six, ok := netip.AddrFromSlice(rr.AAAA)
			if !ok {
				continue
			}
			ttl := min(time.Duration(rr.Hdr.Ttl)*time.Second, p.cfg.MaxTTL)
			// A client may still ask when its answer has just run out.
			four, err := p.mappings.take(six, now, now.Add(ttl+p.cfg.MaxTTL))
			if err != nil {
				return nil, fmt.Errorf("find an address for %s: %w", six, err)
			}
			r.Answer = append(r.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: rr.Hdr.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: uint32(ttl / time.Second)},
				A:   four.AsSlice(),
			})
		case *dns.CNAME, *dns.DNAME:
			r.Answer = append(r.Answer, rr)
		}
	}
	return r, nil
}

// Mappings are the addresses that stand for others at the moment.
func (p *Proxy) Mappings() map[netip.Addr]netip.Addr { return p.mappings.all() }

func has(m *dns.Msg, typ uint16) bool {
	for _, rr := range m.Answer {
		if rr.Header().Rrtype == typ {
			return true
		}
	}
	return false
}

func failure(q *dns.Msg, code int) *dns.Msg {
	r := new(dns.Msg)
	r.SetRcode(q, code)
	return r
}
