package router

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"

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
// a prefix is learned with all who announce it, and withdrawn when nobody does. What a peer whose session has ended
// announced counts until the kernel's route no longer leads to it: a graceful restart keeps it there (RFC 4724). It
// is safe for concurrent use.
type rumour struct {
	log   *ctl.Log
	lines []line
	names *names // of the peers in the log; nil: their addresses are

	mu    sync.Mutex
	peers map[netip.Prefix][]netip.Addr
	hops  map[netip.Prefix][]netip.Addr // of the kernel's routes
	stale map[netip.Prefix][]netip.Addr // of peers, those whose session has ended since they announced the prefix
}

func newRumour(log *ctl.Log, lines []line) *rumour {
	of := func() map[netip.Prefix][]netip.Addr { return map[netip.Prefix][]netip.Addr{} }
	return &rumour{log: log, lines: lines, peers: of(), hops: of(), stale: of()}
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
	r.mu.Lock()
	defer r.mu.Unlock()
	prefix, err := netip.ParsePrefix(text)
	switch {
	case what == up:
		r.log.Add(bgp.EventSessionUp, peer.String(), "")
	case what == down:
		r.log.Add(bgp.EventSessionDown, peer.String(), why)
		r.end(peer)
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

// end is for all that a peer has announced, when its session has ended.
func (r *rumour) end(peer netip.Addr) {
	for prefix, peers := range r.peers {
		switch {
		case !slices.Contains(peers, peer) || slices.Contains(r.stale[prefix], peer):
		case slices.Contains(r.hops[prefix], peer):
			r.stale[prefix] = append(r.stale[prefix], peer)
		default:
			r.drop(prefix, peer)
		}
	}
}

// see takes the next hops that the kernel's route has now, none when it is gone.
func (r *rumour) see(prefix netip.Prefix, hops []netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hops[prefix] = hops; len(hops) == 0 {
		delete(r.hops, prefix)
	}
	for _, peer := range slices.Clone(r.stale[prefix]) {
		if !slices.Contains(hops, peer) {
			r.drop(prefix, peer)
		}
	}
}

// renew is for what a peer announces, or takes back: it is of its present session.
func (r *rumour) renew(prefix netip.Prefix, peer netip.Addr) {
	r.stale[prefix] = slices.DeleteFunc(r.stale[prefix], func(a netip.Addr) bool { return a == peer })
	if len(r.stale[prefix]) == 0 {
		delete(r.stale, prefix)
	}
}

func (r *rumour) add(prefix netip.Prefix, peer netip.Addr) {
	r.renew(prefix, peer)
	peers := r.peers[prefix]
	i, known := slices.BinarySearchFunc(peers, peer, netip.Addr.Compare)
	if known {
		return
	}
	r.peers[prefix] = slices.Insert(peers, i, peer)
	r.log.Add(bgp.EventRouteLearned, prefix.String(), join(r.peers[prefix]))
}

func (r *rumour) drop(prefix netip.Prefix, peer netip.Addr) {
	r.renew(prefix, peer)
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
