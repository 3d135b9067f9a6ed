package traffic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// NameServer answers questions about the names of a fixed list of records, over UDP and TCP.
// Make one with [ServeNames].
type NameServer struct {
	zone map[string][]dns.RR // by lower-case name
	port uint16
	udp  net.PacketConn
	tcp  net.Listener
	g    errgroup.Group
}

// ServeNames binds a port that the kernel chooses, on all addresses of both families, in the calling
// thread's network namespace, and answers until Close. Records are in the form of zone files with
// names in full: "host.example. 60 IN AAAA 2001:db8::1".
func ServeNames(records ...string) (*NameServer, error) {
	s := &NameServer{zone: map[string][]dns.RR{}}
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			return nil, fmt.Errorf("parse record %q: %w", text, err)
		}
		name := dns.CanonicalName(rr.Header().Name)
		s.zone[name] = append(s.zone[name], rr)
	}
	var err error
	if s.tcp, err = net.Listen("tcp", "[::]:0"); err != nil {
		return nil, fmt.Errorf("listen for DNS: %w", err)
	}
	s.port = plain(s.tcp.Addr()).Port()
	if s.udp, err = net.ListenPacket("udp", fmt.Sprintf("[::]:%d", s.port)); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for DNS: %w", err), s.tcp.Close())
	}
	for _, d := range []*dns.Server{{PacketConn: s.udp}, {Listener: s.tcp}} {
		d.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			_ = w.WriteMsg(s.answer(q)) // a client that is gone misses nothing
		})
		s.g.Go(d.ActivateAndServe)
	}
	return s, nil
}

// Port is where it listens.
func (s *NameServer) Port() uint16 { return s.port }

// Close ends it and waits for its goroutines.
func (s *NameServer) Close() error {
	err := errors.Join(s.udp.Close(), s.tcp.Close())
	if ended := s.g.Wait(); !errors.Is(ended, net.ErrClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// answer has the records of the type that was asked for; a name without any does not exist.
func (s *NameServer) answer(q *dns.Msg) *dns.Msg {
	r := new(dns.Msg)
	r.SetReply(q)
	if len(q.Question) != 1 {
		return r.SetRcode(q, dns.RcodeFormatError)
	}
	have, ok := s.zone[dns.CanonicalName(q.Question[0].Name)]
	if !ok {
		return r.SetRcode(q, dns.RcodeNameError)
	}
	for _, rr := range have {
		if rr.Header().Rrtype == q.Question[0].Qtype {
			r.Answer = append(r.Answer, rr)
		}
	}
	return r
}

// Ask asks a name server for a name's IPv4 addresses, over tcp or udp, and returns the records.
func (d Dialer) Ask(ctx context.Context, network string, server netip.AddrPort, name string) ([]*dns.A, error) {
	c, err := d.dial(netip.AddrPort{}, func(nd *net.Dialer, _ netip.AddrPort) (net.Conn, error) {
		return nd.DialContext(ctx, network, server.String())
	})
	if err != nil {
		return nil, fmt.Errorf("ask %s for %s in %s: %w", server, name, d.name(), err)
	}
	defer c.Close()
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), dns.TypeA)
	client := dns.Client{Net: network, Timeout: d.timeout()}
	r, _, err := client.ExchangeWithConnContext(ctx, q, &dns.Conn{Conn: c})
	switch {
	case err != nil:
		return nil, fmt.Errorf("ask %s for %s in %s: %w", server, name, d.name(), err)
	case r.Rcode != dns.RcodeSuccess:
		return nil, fmt.Errorf("ask %s for %s: %s", server, name, dns.RcodeToString[r.Rcode])
	}
	var out []*dns.A
	for _, rr := range r.Answer {
		if a, ok := rr.(*dns.A); ok {
			out = append(out, a)
		}
	}
	return out, nil
}
