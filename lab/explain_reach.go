package lab

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/lab/knock"
)

// ask adds what knocking has shown: that the virtual server answers, and that it does when asked with a
// packet as long as the router's link lets it be.
func (k knocked) ask(c *chain, t target) {
	if k.err != "" {
		c.ask(false, "reachable", t.way.Router, "next hop "+t.way.NextHop.String(), k.err)
		return
	}
	if t.udp {
		k.askDatagram(c, t)
		return
	}
	object, field, text := t.way.Router, "TCP to "+t.server.String(), k.short.String()
	if k.short.Kind != knock.Accepted {
		object, field, text = k.signs.cause(k.short, t)
	}
	if !c.ask(k.short.Kind == knock.Accepted, "reachable", object, field, text) {
		return
	}
	ok := k.long.Kind == knock.Accepted || k.long.Kind == knock.TooBig
	object, field, text = t.way.Router, fmt.Sprintf("%d octets to %s", k.size, t.server), k.long.String()
	if !ok {
		object, field, text = k.signs.causeOfSize(k.long, k.size, t)
	}
	c.ask(ok, "full size", object, field, text)
}

// askDatagram adds what datagrams have shown. Silence is no fault once a pool member has had one, since UDP owes no reply; it is
// one where nobody has.
func (k knocked) askDatagram(c *chain, t target) {
	object, field, text := t.way.Router, "UDP to "+t.server.String(), k.short.String()
	had := k.short.Kind == knock.Silent && len(k.signs.members) > 0
	if had {
		text = fmt.Sprintf("no reply, which UDP does not owe: pool member %s had datagrams of %s, and more cannot be told", k.signs.last(), t.way.TMM)
	}
	ok := k.short.Kind == knock.Replied || had
	if !ok {
		object, field, text = k.signs.cause(k.short, t)
	}
	c.ask(ok, "reachable", object, field, text)
}

// cause is what keeps an answer away: a reset has been sent by whoever got the packet; else the first on the
// way that has counted it as dropped.
func (s reachSigns) cause(a knock.Answer, t target) (object, field, text string) {
	switch {
	case a.Kind == knock.Refused && len(s.members) > 0:
		return "pool member " + s.last(), "port", a.String() + ": nothing listens there"
	case a.Kind == knock.Refused:
		return t.way.TMM, "virtual server " + t.vs, a.String() + " from the TMM"
	case a.Kind == knock.Unreachable:
		return a.From.String(), "ICMP", a.String()
	case len(s.filtered) > 0:
		f := s.filtered[0]
		return "nftables of " + f.node, f.what, fmt.Sprintf("dropped %d packets more while %s asked", f.by, t.way.Router)
	}
	unanswered := slices.ContainsFunc(s.members, func(m memberGrowth) bool { return m.out == 0 })
	switch {
	case unanswered:
		return "pool member " + s.last(), "packets_out", fmt.Sprintf("SYNs went to it from %s, and nothing came back: it is down, or its way back is another one", t.way.TMM)
	case len(s.dropped) > 0:
		g := s.dropped[0]
		return t.way.TMM, "counters." + g.what, fmt.Sprintf("+%d while %s asked", g.by, t.way.Router)
	case len(s.members) > 0:
		return t.way.Router, "TCP from " + t.server.String(), fmt.Sprintf("the TMM had answers of %s, and none has come here", s.last())
	}
	return t.way.TMM, "virtual server " + t.vs, fmt.Sprintf("no answer, and no packet counted: what %s sends to next hop %s is lost before the TMM, or in it without a count", t.way.Router, t.way.NextHop)
}

// last is the member that the newest unanswered packets went to.
func (s reachSigns) last() string {
	i := slices.IndexFunc(s.members, func(m memberGrowth) bool { return m.out == 0 })
	return s.members[max(i, 0)].member.String()
}

// causeOfSize is the narrowest link where only short packets are answered: one of a TMM's VLAN follows from
// the resource.
func (s reachSigns) causeOfSize(a knock.Answer, size int, t target) (object, field, text string) {
	if len(s.narrow) == 0 {
		object, field, text = s.cause(a, t)
		return object, field, fmt.Sprintf("of packets of %d octets: %s", size, text)
	}
	least := slices.MinFunc(s.narrow, func(a, b frameLimit) int { return a.mtu - b.mtu })
	var all []string
	for _, n := range s.narrow {
		all = append(all, fmt.Sprintf("%s carries %d", n.link, n.mtu))
	}
	text = fmt.Sprintf("%d octets get no answer and no ICMP error, fewer do: %s", size, strings.Join(all, ", "))
	if vlan := s.vlans[least.link]; vlan != "" {
		text += fmt.Sprintf(" (mtu of %s %s and of the link's parent have to be one)", api.KindVLAN, vlan)
	}
	return "link " + least.link, "mtu", text
}
