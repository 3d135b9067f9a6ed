package lab

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/topo"
)

// How long a session that is down is watched: a speaker tries again within a second, gives up an attempt
// after two, and a SYN is repeated after one.
const (
	signsTimeout = 5 * time.Second
	signsPoll    = 200 * time.Millisecond
)

// sessionEnd is a TMM's end of a session.
type sessionEnd struct {
	tmm      string // namespace/name
	neighbor netip.Addr
}

// sessionSigns is what both ends of a session that is down have shown while it was watched.
type sessionSigns struct {
	peer      bgp.Peer // at the end of that time
	neighbour string   // state of the neighbor's address in the TMM's neighbour table; empty: it has none
	// unsigned are counters of segments that an end refused by their signature, filtered what rules of
	// nftables dropped, as far as they have grown.
	unsigned, filtered []growth
}

// growth is by how much a counter of a node has grown.
type growth struct {
	node, what string
	by         uint64
}

func (g growth) String() string { return fmt.Sprintf("%s of %s +%d", g.what, g.node, g.by) }

// unresolved says whether nobody answers for the neighbor's address.
func (s sessionSigns) unresolved() bool {
	return slices.Contains([]string{neighbourFailed, neighbourIncomplete, neighbourProbed}, s.neighbour)
}

// decided says whether the signs tell why there is no session, or that there is one now.
func (s sessionSigns) decided() bool {
	p := s.peer
	return p.Established() && !unwatched(p) || p.Notification != "" || len(s.unsigned)+len(s.filtered) > 0 ||
		p.Error != "" && (s.unresolved() || !strings.Contains(p.Error, "timeout"))
}

// signs watches the sessions that are down, or whose BFD is, until each is decided or the time is over.
func (l *Lab) signs(ctx context.Context, in *Inspection) (map[sessionEnd]sessionSigns, error) {
	w := watch{lab: l, began: map[string]counters{}, signs: map[sessionEnd]sessionSigns{}}
	for i := range in.TMMs {
		st := &in.TMMs[i]
		for _, p := range st.BGP.Peers {
			if (!p.Established() || unwatched(p)) && p.State != bgp.StateNoFamily {
				w.signs[sessionEnd{st.Pod, p.Addr}] = sessionSigns{peer: p}
			}
		}
	}
	if err := w.askAgain(); err != nil {
		return nil, err
	}
	parent := ctx
	ctx, cancel := context.WithTimeout(parent, signsTimeout)
	defer cancel()
	tick := time.NewTicker(signsPoll) // the first one is also the time that neighbours have for their answer
	defer tick.Stop()
	for !w.decided() {
		select {
		case <-ctx.Done():
			return w.signs, parent.Err()
		case <-tick.C:
		}
		if err := w.look(ctx); err != nil {
			return nil, err
		}
	}
	return w.signs, nil
}

// askAgain has TMMs ask whether the neighbors are there that they have no session with.
func (w *watch) askAgain() error {
	addrs := map[string][]netip.Addr{}
	for end, s := range w.signs {
		if !s.peer.Established() {
			addrs[end.tmm] = append(addrs[end.tmm], end.neighbor)
		}
	}
	for tmm, addrs := range addrs {
		if err := askAgain(topo.NetnsName(w.lab.Name(), podName(tmm)), addrs); err != nil {
			return fmt.Errorf("look for signs in %s: %w", tmm, err)
		}
	}
	return nil
}

// watch looks at sessions again and again.
type watch struct {
	lab   *Lab
	began map[string]counters // of the nodes at the first look
	signs map[sessionEnd]sessionSigns
}

func (w *watch) decided() bool {
	for _, s := range w.signs {
		if !s.decided() {
			return false
		}
	}
	return true
}

func (w *watch) look(ctx context.Context) error {
	now := map[string]counters{}
	count := func(node string) (counters, error) {
		if c, ok := now[node]; ok {
			return c, nil
		}
		c, err := countersOf(topo.NetnsName(w.lab.Name(), node))
		if err != nil {
			return c, fmt.Errorf("look for signs in %s: %w", node, err)
		}
		now[node] = c
		if _, ok := w.began[node]; !ok {
			w.began[node] = c
		}
		return c, nil
	}
	for end, s := range w.signs {
		nodes := []string{podName(end.tmm)}
		if r, ours := routerOf(w.lab.Spec, end.neighbor); ours {
			nodes = append(nodes, r.Name)
		}
		s.unsigned, s.filtered = nil, nil
		for _, node := range nodes {
			c, err := count(node)
			if err != nil {
				return err
			}
			s.unsigned = append(s.unsigned, grown(node, w.began[node].signature, c.signature)...)
			s.filtered = append(s.filtered, grown(node, w.began[node].filters, c.filters)...)
		}
		s.neighbour = now[nodes[0]].neighbours[end.neighbor]
		var st control.Status
		if err := ctl.Get(ctx, w.lab.Socket(nodes[0]), ctl.PathState, &st); err == nil {
			if i := slices.IndexFunc(st.BGP.Peers, func(p bgp.Peer) bool { return p.Addr == end.neighbor }); i >= 0 {
				s.peer = st.BGP.Peers[i]
			}
		}
		w.signs[end] = s
	}
	return nil
}

// podName is a pod's name without its namespace.
func podName(pod string) string { return pod[strings.LastIndexByte(pod, '/')+1:] }

// grown are the counters that have grown, sorted.
func grown(node string, from, to map[string]uint64) []growth {
	var out []growth
	for what, n := range to {
		if n > from[what] {
			out = append(out, growth{node, what, n - from[what]})
		}
	}
	slices.SortFunc(out, func(a, b growth) int { return strings.Compare(a.what, b.what) })
	return out
}

// askSession asks for the session, and where it is down names what the signs tell: a notification before
// everything else, as one is told by an end that could be talked to.
func (v vip) askSession(c *chain, st *control.Status, n bgp.Neighbor, router topo.Router) {
	neighbor := "BGP neighbor " + n.Addr.String()
	i := slices.IndexFunc(st.BGP.Peers, func(p bgp.Peer) bool { return p.Addr == n.Addr })
	if i < 0 {
		c.ask(false, conditionSession, neighbor, "state", "not begun")
		return
	}
	p := st.BGP.Peers[i]
	if p.State == bgp.StateNoFamily {
		return // that no family is accepted says so
	}
	if p.Established() {
		c.ask(true, conditionSession, neighbor, "state", p.State)
		return
	}
	signs, ok := v.signs[sessionEnd{st.Pod, n.Addr}]
	if !ok {
		signs.peer = p
	}
	object, field, text := signs.cause(n, router, st.BGP.ASN)
	if endedByBFD(signs.peer) {
		object, field, text = v.causeOfBFD(signs, signs.peer, router)
	}
	c.ask(false, conditionSession, object, field, text)
}

// cause is the object and field that keep a session down, and what there is to see.
func (s sessionSigns) cause(n bgp.Neighbor, router topo.Router, own uint32) (object, field, text string) {
	neighbor := "BGP neighbor " + n.Addr.String()
	at := router.Name
	if at == "" {
		at = n.Addr.String()
	}
	p := s.peer
	switch {
	case p.Notification == "sent "+bgp.NotificationBadPeerAS:
		return neighbor, "asn", fmt.Sprintf("NOTIFICATION %s: asn is %d here, and %s", p.Notification, n.ASN, asnOf(router))
	case p.Notification == "received "+bgp.NotificationBadPeerAS:
		return "Helm values", "bgp.asn", fmt.Sprintf("NOTIFICATION %s: %s wants another AS of its neighbors than %d", p.Notification, at, own)
	case p.Notification == "received "+bgp.NotificationMaxPrefix:
		return at, "neighbors[].maxPrefix", fmt.Sprintf("NOTIFICATION %s: %s takes fewer prefixes than it is told", p.Notification, at)
	case p.Notification != "":
		return neighbor, "state", fmt.Sprintf("%s: NOTIFICATION %s", p.State, p.Notification)
	case strings.Contains(p.Error, "refused"):
		return at, "TCP port 179", "refuses connections: nothing listens there: " + p.Error
	case s.unresolved():
		return "neighbour table of TMM", n.Addr.String(), fmt.Sprintf("%s: nobody answers for the address: %s", s.neighbour, p.Error)
	case len(s.unsigned) > 0:
		return neighbor, "password", signatureText(s.unsigned)
	case len(s.filtered) > 0:
		return "nftables of " + s.filtered[0].node, s.filtered[0].what, fmt.Sprintf("dropped %d packets more while the session was dialed: %s", s.filtered[0].by, p.Error)
	case strings.Contains(p.Error, "timeout"):
		return at, "TCP port 179", fmt.Sprintf("no answer, though the address is there (%s): something on the way drops it: %s", s.neighbour, p.Error)
	case p.Error != "":
		return neighbor, "state", p.State + ": " + p.Error
	}
	return neighbor, "state", p.State
}

func asnOf(r topo.Router) string {
	if r.Name == "" {
		return "the neighbor says another one"
	}
	return fmt.Sprintf("router %s is AS %d", r.Name, r.ASN)
}

// signatureText says what counters of TCP signatures mean (RFC 2385; Linux 6.18, net/ipv4/tcp.c).
func signatureText(grown []growth) string {
	meaning := map[string]string{
		"TCPMD5NotFound":   "segments without a signature, where a password is set",
		"TCPMD5Unexpected": "signed segments, where no password is set",
		"TCPMD5Failure":    "segments signed with another password",
	}
	var out []string
	for _, g := range grown {
		out = append(out, fmt.Sprintf("%s: %s refuses %s", g, g.node, meaning[g.what]))
	}
	return strings.Join(out, "; ")
}
