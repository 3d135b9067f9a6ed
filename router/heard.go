package router

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bgp"
)

// news is what a line of a daemon's log tells.
type news int

const (
	up        news = iota // a session is established
	down                  // it has ended
	learned               // a peer announces a prefix
	withdrawn             // it takes it back
	bfdUp                 // a BFD session is up
	bfdDown               // it no longer is
)

// line is how a daemon's log tells something. The pattern has groups peer or, where it is an
// address in any daemon's log, addr, and, by what it tells, prefix or why.
type line struct {
	tells   news
	pattern *regexp.Regexp
}

// rumour keeps what peers have announced by the logs, and tells changes as the embedded router does:
// a prefix is learned with all who announce it, and withdrawn when nobody does.
type rumour struct {
	log   *ctl.Log
	lines []line
	names *names // of the peers in the log; nil: their addresses are
	peers map[netip.Prefix][]netip.Addr
}

// hear takes one line.
func (r *rumour) hear(text string) {
	for _, l := range r.lines {
		m := l.pattern.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		group := func(name string) string {
			if i := l.pattern.SubexpIndex(name); i >= 0 {
				return strings.TrimSpace(m[i])
			}
			return ""
		}
		peer := parseAddr(group("peer") + group("addr"))
		if r.names != nil && group("addr") == "" {
			peer = r.names.addr(group("peer"))
		}
		if peer.IsValid() {
			r.take(l.tells, peer, group("prefix"), group("why"))
		}
		if r.names != nil && l.tells == down {
			r.names.forget(group("peer"))
		}
		return
	}
}

func (r *rumour) take(what news, peer netip.Addr, text, why string) {
	prefix, err := netip.ParsePrefix(text)
	switch {
	case what == up:
		r.log.Add(bgp.EventSessionUp, peer.String(), "")
	case what == down:
		r.log.Add(bgp.EventSessionDown, peer.String(), why)
		for prefix := range r.peers {
			r.drop(prefix, peer)
		}
	case what == bfdUp:
		r.log.Add(bgp.EventBFDUp, peer.String(), "")
	case what == bfdDown:
		r.log.Add(bgp.EventBFDDown, peer.String(), why)
	case err != nil:
	case what == learned:
		r.add(prefix, peer)
	case what == withdrawn:
		r.drop(prefix, peer)
	}
}

func (r *rumour) add(prefix netip.Prefix, peer netip.Addr) {
	peers := r.peers[prefix]
	i, known := slices.BinarySearchFunc(peers, peer, netip.Addr.Compare)
	if known {
		return
	}
	r.peers[prefix] = slices.Insert(peers, i, peer)
	r.log.Add(bgp.EventRouteLearned, prefix.String(), join(r.peers[prefix]))
}

func (r *rumour) drop(prefix netip.Prefix, peer netip.Addr) {
	peers := r.peers[prefix]
	i, known := slices.BinarySearchFunc(peers, peer, netip.Addr.Compare)
	if !known {
		return
	}
	if len(peers) == 1 {
		delete(r.peers, prefix)
		r.log.Add(bgp.EventRouteWithdrawn, prefix.String(), peer.String())
		return
	}
	r.peers[prefix] = slices.Delete(peers, i, i+1)
	r.log.Add(bgp.EventRouteLearned, prefix.String(), join(r.peers[prefix]))
}

func join(addrs []netip.Addr) string {
	s := make([]string, len(addrs))
	for i, a := range addrs {
		s[i] = a.String()
	}
	return strings.Join(s, ",")
}
