package lab

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/lab/knock"
	"github.com/spklab/spklab/topo"
)

// How a router knocks at a virtual server: as often as it has members, as new connections go round them, but
// no more than a few times. A SYN is repeated until the time is over.
const (
	knocksMost   = 8
	knockTimeout = 3 * time.Second
	watchTimeout = time.Second // when it was in vain already
)

// knocked is what came of a router's knocking by a way: with short packets, and once these were answered with one as
// long as the router's link lets it be.
type knocked struct {
	short, long knock.Answer
	size        int        // octets of the long one
	signs       reachSigns // where one was not accepted
	err         string     // why nobody could knock
}

// reachSigns are what has grown while a router knocked in vain, and what is there to see.
type reachSigns struct {
	filtered []growth          // by rules of nftables that drop, anywhere in the lab
	dropped  []growth          // by the TMM, by its reasons
	members  []memberGrowth    // of the virtual server, those that packets went to
	narrow   []frameLimit      // links of the lab that carry less than the router's
	vlans    map[string]string // the TMM's F5SPKVlan by interface, "node/interface"
}

// memberGrowth is what went to a pool member while somebody knocked, and what came from it.
type memberGrowth struct {
	member  netip.AddrPort
	in, out uint64 // packets
}

// frameLimit is how long an IP packet a link carries.
type frameLimit struct {
	link string // "node/interface"
	mtu  int    // octets
}

// target is a virtual server of a TMM, as a router comes to it.
type target struct {
	way    *VIPWay
	server netip.AddrPort
	vs     string // namespace/name
	udp    bool
}

// targets are the ways that hold as far as tables tell, to virtual servers of TCP and UDP.
func (e *VIPExplanation) targets() []target {
	var out []target
	for i := range e.Resources {
		r := &e.Resources[i]
		port := r.ing.Spec.DestinationPort
		if port == 0 { // all of them
			port = r.ing.Service.Port
		}
		for j := range r.Ways {
			w := &r.Ways[j]
			udp := r.ing.Protocol == corev1.ProtocolUDP
			if r.OK() && w.OK() && w.Router != "" && w.NextHop.IsValid() && (udp || r.ing.Protocol == corev1.ProtocolTCP) {
				out = append(out, target{w, netip.AddrPortFrom(e.Address, uint16(port)), r.ing.Meta.Namespace + "/" + r.ing.Meta.Name, udp})
			}
		}
	}
	return out
}

// knockAt has routers knock at targets, all at once, and adds the conditions that come of it. Where it was in
// vain they knock once more, one by one, while the lab is watched.
func (l *Lab) knockAt(ctx context.Context, targets []target) error {
	if len(targets) == 0 {
		return nil
	}
	now, err := l.look(ctx)
	if err != nil {
		return err
	}
	came := make([]knocked, len(targets))
	var g errgroup.Group
	for i, t := range targets {
		g.Go(func() error {
			for n := range now.knocks(t) {
				if came[i] = l.knock(ctx, t, came[i], n == now.knocks(t)-1, knockTimeout); !came[i].ok() {
					break
				}
			}
			return nil
		})
	}
	l.slow("waiting for answers to the routers' packets", func() { _ = g.Wait() }) // what fails is a condition
	for i, t := range targets {
		if !came[i].ok() {
			l.tell(Event{Text: fmt.Sprintf("%s is not served at %s: watching the lab while it tries again", t.way.Router, t.server)})
			if came[i], err = l.watchKnocks(ctx, t, now.knocks(t)); err != nil {
				return err
			}
		}
		c := chain(t.way.Conditions)
		came[i].ask(&c, t)
		t.way.Conditions = c
	}
	return nil
}

// watchKnocks has the router of a way knock until it is in vain, with what grows meanwhile.
func (l *Lab) watchKnocks(ctx context.Context, t target, times int) (k knocked, err error) {
	for n := range times {
		before, err := l.look(ctx)
		if err != nil {
			return k, err
		}
		if k = l.knock(ctx, t, k, n == times-1, watchTimeout); k.ok() {
			continue
		}
		after, err := l.look(ctx)
		if err != nil {
			return k, err
		}
		k.signs = after.signs(before, t, k.size)
		if k.long.Kind == knock.Silent && len(k.signs.narrow) == 0 && len(k.signs.dropped) == 0 {
			k.short = k.long // nothing speaks for the size: it is a member that no short one has come to
		}
		return k, nil
	}
	return k, nil
}

// knock has the router of a way knock once more, with a long packet where that is asked for: after short ones that every
// member has answered. A datagram is always short.
func (l *Lab) knock(ctx context.Context, t target, k knocked, long bool, timeout time.Duration) knocked {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := topo.Do(topo.NetnsName(l.Name(), t.way.Router), func() (err error) {
		door := knock.Door{Server: t.server, Hop: t.way.NextHop, UDP: t.udp}
		if k.size, err = knock.Longest(door.Hop); err != nil {
			return err
		}
		if !long || t.udp {
			k.short, err = knock.Try(ctx, door)
			k.long = k.short
			return err
		}
		door.Size = k.size
		if k.long, err = knock.Try(ctx, door); k.long.Kind == knock.Refused || k.long.Kind == knock.Unreachable {
			k.short = k.long // it is a member that says so, and not the size
		}
		return err
	})
	if err != nil {
		k.err = err.Error()
	}
	return k
}

// ok says whether nothing is to be explained: a too big packet that somebody complains of is sent shorter.
func (k knocked) ok() bool {
	whole := k.short.Kind == knock.Accepted && (k.long.Kind == knock.Accepted || k.long.Kind == knock.TooBig)
	return k.err == "" && (whole || k.short.Kind == knock.Replied)
}

// sight is what the lab shows of packets that do not arrive.
type sight struct {
	filters map[string]map[string]uint64 // by node
	tmms    map[string]*control.Status   // by pod's name
	links   []frameLimit                 // sorted
}

func (l *Lab) look(ctx context.Context) (*sight, error) {
	nodes, err := l.Nodes()
	if err != nil {
		return nil, err
	}
	s := &sight{filters: map[string]map[string]uint64{}, tmms: map[string]*control.Status{}}
	for _, n := range nodes {
		err := topo.Do(n.Netns, func() (err error) {
			if s.filters[n.Name], err = filterCounters(); err != nil {
				return err
			}
			links, err := netlink.LinkList()
			for _, link := range links {
				s.links = append(s.links, frameLimit{n.Name + "/" + link.Attrs().Name, link.Attrs().MTU})
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", n.Name, err)
		}
		st := &control.Status{}
		if n.Kind == KindTMM && ctl.Get(ctx, l.Socket(n.Name), ctl.PathState, st) == nil {
			s.tmms[n.Name] = st
		}
	}
	slices.SortFunc(s.links, func(a, b frameLimit) int { return strings.Compare(a.link, b.link) })
	return s, nil
}

// members are what each pool member of a target has had so far.
func (s *sight) members(t target) map[netip.AddrPort]dataplane.Traffic {
	out := map[netip.AddrPort]dataplane.Traffic{}
	st := s.tmms[podName(t.way.TMM)]
	if st == nil {
		return out
	}
	for i := range st.VirtualServers {
		if vs := &st.VirtualServers[i]; vs.Name == t.vs && vs.Destination.Addr().Is4() == t.server.Addr().Is4() {
			for _, m := range vs.Members {
				out[m.Address] = m.Traffic
			}
		}
	}
	return out
}

// knocks is how often a router knocks at a target: once for each member, and once with a long packet.
func (s *sight) knocks(t target) int { return min(max(len(s.members(t)), 1), knocksMost) + 1 }

// signs are what has changed for a target since before.
func (s *sight) signs(before *sight, t target, size int) reachSigns {
	var out reachSigns
	for _, node := range slices.Sorted(maps.Keys(s.filters)) {
		out.filtered = append(out.filtered, grown(node, before.filters[node], s.filters[node])...)
	}
	name := podName(t.way.TMM)
	if st, was := s.tmms[name], before.tmms[name]; st != nil && was != nil {
		for _, g := range grown(name, was.Counters, st.Counters) {
			// Resets of the router's kernel may come by a TMM that has no such connection.
			if strings.HasPrefix(g.what, "drop_") && g.what != "drop_no_flow" {
				out.dropped = append(out.dropped, g)
			}
		}
		out.vlans = map[string]string{}
		for _, v := range st.VLANs {
			out.vlans[name+"/"+v.Interface] = v.Name
		}
	}
	was := before.members(t)
	for member, now := range s.members(t) {
		if in := now.PacketsIn - was[member].PacketsIn; in > 0 {
			out.members = append(out.members, memberGrowth{member, in, now.PacketsOut - was[member].PacketsOut})
		}
	}
	slices.SortFunc(out.members, func(a, b memberGrowth) int { return a.member.Compare(b.member) })
	for _, link := range s.links {
		if link.mtu < size {
			out.narrow = append(out.narrow, link)
		}
	}
	return out
}
