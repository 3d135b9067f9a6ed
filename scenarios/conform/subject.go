package conform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/traffic"
)

// clients is how many connections from the outside an observation opens.
const clients = 12

// The numbers of the spk topology.
const (
	clientIPv4 = "203.0.113.10"
	clientIPv6 = "2001:db8:113::10"
	noSNAT     = "192.0.2.11" // a virtual server without source translation
)

// pinTable is the router's table that leads to one TMM.
const pinTable = 7007

// subject is one of the labs that have to behave alike.
type subject struct {
	lab    *lab.Lab
	server *traffic.Server // at the client
}

// begin brings a lab up and has its client answer.
func begin(ctx context.Context, src *lab.Source, opt lab.Options) (*subject, error) {
	l, _, err := lab.Up(ctx, src, opt)
	if err != nil {
		return nil, fmt.Errorf("bring %s up: %w", src.Spec.Name, err)
	}
	s := &subject{lab: l}
	err = topo.Do(l.Runtime().Netns("client"), func() error {
		s.server, err = traffic.Listen("outside/client", []uint16{0}, []uint16{0})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("serve at the client of %s: %w", l.Name(), err)
	}
	return s, nil
}

func (s *subject) close() error { return s.server.Close() }

// rows are those of the northbound database.
func (s *subject) rows(ctx context.Context) ([]string, error) {
	nb, err := s.lab.Northbound(ctx)
	return Rows(nb), err
}

// observe looks at all three levels.
func (s *subject) observe(ctx context.Context) (Observation, error) {
	o := Observation{Properties: map[string]string{}}
	var err error
	if o.Rows, err = s.rows(ctx); err != nil {
		return o, err
	}
	if err := s.egress(ctx, o.Properties); err != nil {
		return o, err
	}
	conns, err := s.ingress(ctx, o.Properties)
	for _, c := range conns {
		defer c.Close()
	}
	if err != nil {
		return o, err
	}
	o.Entries, err = s.entries(ctx, conns)
	return o, err
}

func (s *subject) dialer(node string) traffic.Dialer {
	return traffic.Dialer{Netns: s.lab.Runtime().Netns(node)}
}

// egress is what holds of a pod's connections to the outside: how many TMMs they leave by, over TCP of
// 24 that a hash sends all by one of two once in 2^23, over UDP of 4.
func (s *subject) egress(ctx context.Context, out map[string]string) error {
	tcp, udp := s.server.Ports()
	for _, client := range []string{clientIPv4, clientIPv6} {
		to := netip.MustParseAddr(client)
		for _, p := range []struct {
			what string
			port uint16
			dial func(context.Context, netip.AddrPort, netip.AddrPort) (*traffic.Conn, error)
			n    int
		}{{"connections", tcp[0], s.dialer("app-1").TCP, 24}, {"datagrams", udp[0], s.dialer("app-1").UDP, 4}} {
			seen := map[netip.Addr]bool{}
			lost := 0
			for range p.n {
				c, err := p.dial(ctx, netip.AddrPort{}, netip.AddrPortFrom(to, p.port))
				if err == nil {
					err = errors.Join(c.Echo([]byte("conform")), c.Close())
				}
				if err != nil {
					lost++
					continue
				}
				seen[c.Greeting.Remote.Addr()] = true
			}
			out[fmt.Sprintf("TMMs that %s of app-1 to %s leave by", p.what, client)] = fmt.Sprint(len(seen))
			out[fmt.Sprintf("%s of app-1 to %s that are lost", p.what, client)] = fmt.Sprint(lost)
		}
	}
	return ctx.Err()
}

// ingress opens connections to a virtual server without source translation: each has to be answered by
// the TMM that it came by, for the other one would drop the answer.
func (s *subject) ingress(ctx context.Context, out map[string]string) ([]*traffic.Conn, error) {
	var conns []*traffic.Conn
	answered := 0
	d := s.dialer("client")
	for i := range clients {
		if err := s.pin(i * 2 / clients); err != nil {
			return conns, fmt.Errorf("pin %s: %w", noSNAT, err)
		}
		conn, err := d.TCP(ctx, netip.AddrPort{}, netip.AddrPortFrom(netip.MustParseAddr(noSNAT), 80))
		if err != nil {
			continue // it is missing among those that are answered
		}
		conns = append(conns, conn)
		if conn.Echo([]byte("conform")) == nil {
			answered++
		}
	}
	out["clients without source translation that are answered"] = fmt.Sprintf("%d of %d", answered, clients)
	return conns, ctx.Err()
}

// pin has the router send the virtual server's packets to a TMM: its own choice is another one in
// another lab.
func (s *subject) pin(tmm int) error {
	return topo.Do(s.lab.Runtime().Netns("upstream"), func() error {
		to := &net.IPNet{IP: netip.MustParseAddr(noSNAT).AsSlice(), Mask: net.CIDRMask(32, 32)}
		rule := netlink.NewRule()
		rule.Dst, rule.Table, rule.Priority, rule.Family = to, pinTable, pinTable, netlink.FAMILY_V4
		if err := netlink.RuleAdd(rule); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return netlink.RouteReplace(&netlink.Route{Dst: to, Table: pinTable, Gw: net.IPv4(198, 51, 100, byte(16+tmm))})
	})
}

// entries counts what the workers' conntrack holds of these connections, by the TMM whose MAC it names.
func (s *subject) entries(ctx context.Context, conns []*traffic.Conn) (map[string]int, error) {
	macs := map[string]string{}
	in, err := s.lab.Inspect(ctx)
	if err != nil {
		return nil, err
	}
	for _, tmm := range in.TMMs {
		for _, f := range tmm.Interfaces {
			macs[f.MAC] = tmm.Pod
		}
	}
	out := map[string]int{}
	for _, w := range s.lab.Spec.Workers {
		all, err := s.lab.Conns(ctx, w.Name)
		if err != nil {
			return nil, fmt.Errorf("conntrack of %s: %w", w.Name, err)
		}
		for _, entry := range all {
			if entry.MAC != "" && slices.ContainsFunc(conns, func(c *traffic.Conn) bool { return c.Local() == entry.Peer }) {
				out[fmt.Sprintf("of protocol %d by %s", entry.Protocol, macs[entry.MAC])]++
			}
		}
	}
	return out, nil
}
