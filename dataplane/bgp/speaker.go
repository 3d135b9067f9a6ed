package bgp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/spklab/spklab/bfd"
	"github.com/spklab/spklab/ctl"
)

// States of a neighbor without a session.
const (
	// StateNoFamily: its configuration accepts no address family (acceptsIPv4 and acceptsIPv6
	// are false, their default), so no session is opened.
	StateNoFamily = "NO_FAMILY"
	stateConnect  = "CONNECT" // dialing (RFC 4271, 8.2.2)
)

// closeTimeout bounds how long Close waits for the last messages to go out.
const closeTimeout = 2 * time.Second

// SpeakerConfig is what a Speaker is and whom it talks to.
type SpeakerConfig struct {
	ASN       uint32
	RouterID  netip.Addr // an IPv4 address
	Port      int        // to listen on at every Neighbor.Local; 0 = 179, -1 = do not listen
	Neighbors []Neighbor // at most 255
	// RestartTime is how many seconds the neighbors keep the routes when the speaker ends without a word
	// (RFC 4724), at most 4095; 0: not at all. With it, sessions are opened by the first Set, so that no
	// neighbor hears the end of a table before it is whole.
	RestartTime uint16 `json:",omitempty"`
	// Ended is when a speaker of another configuration ended its sessions, zero for never: neighbors are asked
	// again no sooner than after a second.
	Ended time.Time `json:"-"`
	// Killed is when a process before was found to have been killed, zero for never. Neighbors are asked no sooner than
	// a second after their session's end as the kernel remembers it, or where it remembers none after Killed. That
	// does not hold with a RestartTime.
	Killed time.Time `json:",omitzero"`
	Log    *ctl.Log  // may be nil
}

// Neighbor is one entry of tmm.dynamicRouting.tmmRouting.config.bgp.neighbors.
type Neighbor struct {
	Addr     netip.Addr
	Local    netip.Addr // own address of the session; the zero Addr: as the kernel chooses
	ASN      uint32
	AcceptV4 bool
	AcceptV6 bool
	Password string `json:"-"` // TCP MD5 (RFC 2385), empty for none; never logged
	Multihop uint8  // TTL of an eBGP session over several hops, 0 = directly connected
	Timers
	// BFD watches the way to the neighbor from Local, which is valid then; nil: the hold time alone does.
	BFD *bfd.Times `json:",omitempty"`

	ttl int // of the connection, 0 = the kernel's
}

// Announcement is a prefix with the next hop that peers are told.
type Announcement struct {
	Prefix  netip.Prefix `json:"prefix"`
	NextHop netip.Addr   `json:"next_hop"` // of the prefix's family, for the neighbors that are told no other
	// Withhold names the neighbors that are not told, since a route map says so.
	Withhold []netip.Addr `json:"withhold,omitempty"`
	// Told is what route maps set, of the neighbors that have one, and the next hop of those on another segment.
	Told []Told `json:"told,omitempty"`
}

// NextHopFor is the next hop that a neighbor is told.
func (a Announcement) NextHopFor(neighbor netip.Addr) netip.Addr {
	for _, t := range a.Told {
		if t.Neighbor == neighbor && t.NextHop.IsValid() {
			return t.NextHop
		}
	}
	return a.NextHop
}

func (a Announcement) equal(b Announcement) bool {
	return a.Prefix == b.Prefix && a.NextHop == b.NextHop && slices.Equal(a.Withhold, b.Withhold) && slices.EqualFunc(a.Told, b.Told, Told.equal)
}

// Speaker announces prefixes to its neighbors. It is safe for concurrent use.
type Speaker struct {
	in         *instance
	asn        uint32
	neighbors  []Neighbor
	transports []*transport // of the neighbors that accept a family
	liveness   *liveness
	listeners  []io.Closer
	stopDial   context.CancelFunc
	kill       context.CancelFunc
	wg         sync.WaitGroup

	mu        sync.Mutex
	announced map[netip.Prefix]Announcement
	pending   func() error // opens the sessions; nil: they are
}

// NewSpeaker opens the sessions; they come up in their own time, a few milliseconds after a
// neighbor listens. The caller must Close it. It lives in the network namespace of the process.
func NewSpeaker(ctx context.Context, cfg SpeakerConfig) (*Speaker, error) {
	if len(cfg.Neighbors) > 255 {
		return nil, fmt.Errorf("start speaker: %d neighbors, at most 255", len(cfg.Neighbors))
	}
	s := &Speaker{asn: cfg.ASN, neighbors: cfg.Neighbors, announced: map[netip.Prefix]Announcement{}}
	s.makeTransports(cfg)
	neighbors := map[netip.Addr]netip.Addr{}
	for _, t := range s.transports {
		neighbors[t.alias] = t.neighbor.Addr
	}
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	port, err := freePort(loopback)
	if err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	dialCtx, stopDial := context.WithCancel(ctx)
	killCtx, kill := context.WithCancel(ctx)
	s.stopDial, s.kill = stopDial, kill
	if s.in, err = start(killCtx, cfg.ASN, cfg.RouterID, int32(port), []netip.Addr{loopback}, neighbors, cfg.Log); err != nil {
		stopDial()
		kill()
		return nil, err
	}
	for _, t := range s.transports {
		t.instance = netip.AddrPortFrom(loopback, port)
	}
	s.liveness = newLiveness(cfg.Log, s.lost)
	if err := s.policies(dialCtx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.pending = func() error { return s.open(dialCtx, killCtx, cfg) }
	if cfg.RestartTime > 0 {
		return s, nil
	}
	if err := s.openPending(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// makeTransports gives each neighbor the loopback address that its session will come from.
func (s *Speaker) makeTransports(cfg SpeakerConfig) {
	for i, n := range cfg.Neighbors {
		if !n.AcceptV4 && !n.AcceptV6 {
			continue
		}
		n.ttl = int(n.Multihop)
		if n.ttl == 0 && n.ASN != cfg.ASN {
			n.ttl = 1
		}
		s.transports = append(s.transports, &transport{
			neighbor: n, ended: cfg.Ended, restarts: cfg.RestartTime > 0, alias: netip.AddrFrom4([4]byte{127, 1, 0, byte(i + 1)}), incoming: make(chan net.Conn),
		})
	}
}

func freePort(a netip.Addr) (uint16, error) {
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort().Port(), nil
}

// openPending opens the sessions where they are not open yet.
func (s *Speaker) openPending() error {
	open := s.pending
	s.pending = nil
	if open == nil {
		return nil
	}
	return open()
}

// open lets the sessions in and starts what brings them.
func (s *Speaker) open(ctx, kill context.Context, cfg SpeakerConfig) error {
	for _, t := range s.transports {
		r := PeerRange{Prefix: netip.PrefixFrom(t.alias, 32), ASN: t.neighbor.ASN, Timers: t.neighbor.Timers}
		if err := s.in.accept(ctx, r, families(t.neighbor.AcceptV4, t.neighbor.AcceptV6), int(t.neighbor.Multihop), cfg.RestartTime); err != nil {
			return err
		}
	}
	if err := s.listen(ctx, cfg.Port); err != nil {
		return err
	}
	table, err := sockets()
	if err != nil {
		return err
	}
	for _, t := range s.transports {
		t.leaveAlone(table, cfg.Killed, time.Now())
		s.wg.Go(func() { t.run(ctx, kill) })
	}
	return s.watch()
}

// watch begins the BFD sessions.
func (s *Speaker) watch() error {
	want := map[pair]bfd.Times{}
	for _, t := range s.transports {
		if n := t.neighbor; n.BFD != nil {
			want[pair{n.Local, n.Addr}] = *n.BFD
		}
	}
	return s.liveness.set(want)
}

// lost ends the session with a neighbor that BFD no longer reaches.
func (s *Speaker) lost(neighbor netip.Addr) {
	for _, t := range s.transports {
		if t.neighbor.Addr == neighbor {
			t.leave()
		}
	}
	if err := s.in.reset(neighbor, bfdDown); err != nil {
		slog.Error(err.Error())
	}
}

// listen opens the port on the own address of every session.
func (s *Speaker) listen(ctx context.Context, port int) error {
	if port < 0 {
		return nil
	}
	if port == 0 {
		port = Port
	}
	byLocal := map[netip.Addr][]*transport{}
	for _, t := range s.transports {
		if t.neighbor.Local.IsValid() {
			byLocal[t.neighbor.Local] = append(byLocal[t.neighbor.Local], t)
		}
	}
	for local, ts := range byLocal {
		l, err := listen(ctx, netip.AddrPortFrom(local, uint16(port)), ts)
		if err != nil {
			return err
		}
		s.listeners = append(s.listeners, l)
	}
	return nil
}

// Set (the first one with a RestartTime opens the sessions) makes exactly these prefixes announced: the rest is withdrawn, then what is new or has
// changed is announced. It returns once the updates are queued to the peers; a neighbor whose
// session is down learns them when it comes up.
func (s *Speaker) Set(ctx context.Context, want []Announcement) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[netip.Prefix]Announcement{}
	for _, a := range want {
		next[a.Prefix] = a
	}
	for prefix, old := range s.announced {
		if _, ok := next[prefix]; ok {
			continue
		}
		if err := s.deletePath(ctx, old); err != nil {
			return err
		}
		delete(s.announced, prefix)
	}
	for _, a := range want {
		if a.equal(s.announced[a.Prefix]) {
			continue
		}
		if err := s.addPath(ctx, a); err != nil {
			return err
		}
		s.announced[a.Prefix] = a
	}
	return s.openPending()
}

func (s *Speaker) addPath(ctx context.Context, a Announcement) error {
	p, err := path(a)
	if err != nil {
		return err
	}
	marks, err := s.marks(ctx, a)
	if err != nil {
		return err
	}
	if marks != nil {
		p.Pattrs = append(p.Pattrs, marks)
	}
	if _, err := s.in.srv.AddPath(ctx, &api.AddPathRequest{TableType: api.TableType_GLOBAL, Path: p}); err != nil {
		return fmt.Errorf("announce %s: %w", a.Prefix, err)
	}
	return nil
}

func (s *Speaker) deletePath(ctx context.Context, a Announcement) error {
	p, err := path(a)
	if err != nil {
		return err
	}
	if err := s.in.srv.DeletePath(ctx, &api.DeletePathRequest{TableType: api.TableType_GLOBAL, Family: p.Family, Path: p}); err != nil {
		return fmt.Errorf("withdraw %s: %w", a.Prefix, err)
	}
	return nil
}

// path is the announcement as gobgp wants it: IPv4 in the classic attributes, IPv6 in
// MP_REACH_NLRI (RFC 4760).
func path(a Announcement) (*api.Path, error) {
	if !a.NextHop.IsValid() || a.Prefix.Addr().Is4() != a.NextHop.Is4() {
		return nil, fmt.Errorf("announce %s: next hop %s is of the other family", a.Prefix, a.NextHop)
	}
	nlri, err := anypb.New(&api.IPAddressPrefix{Prefix: a.Prefix.Addr().String(), PrefixLen: uint32(a.Prefix.Bits())})
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", a.Prefix, err)
	}
	origin, err := anypb.New(&api.OriginAttribute{Origin: 0}) // IGP
	if err != nil {
		return nil, fmt.Errorf("encode origin: %w", err)
	}
	p := &api.Path{Family: unicast(a.Prefix.Addr().Is4()), Nlri: nlri, Pattrs: []*anypb.Any{origin}}
	var hop *anypb.Any
	if a.NextHop.Is4() {
		hop, err = anypb.New(&api.NextHopAttribute{NextHop: a.NextHop.String()})
	} else {
		hop, err = anypb.New(&api.MpReachNLRIAttribute{
			Family: p.Family, NextHops: []string{a.NextHop.String()}, Nlris: []*anypb.Any{nlri},
		})
	}
	if err != nil {
		return nil, fmt.Errorf("encode next hop of %s: %w", a.Prefix, err)
	}
	p.Pattrs = append(p.Pattrs, hop)
	return p, nil
}

// Announced lists what Set has announced, sorted.
func (s *Speaker) Announced() []netip.Prefix {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]netip.Prefix, 0, len(s.announced))
	for p := range s.announced {
		out = append(out, p)
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return out
}

// Peers lists the neighbors' sessions, sorted by address.
func (s *Speaker) Peers(ctx context.Context) ([]Peer, error) {
	sessions, err := s.in.peers(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Peer, 0, len(s.neighbors))
	for _, n := range s.neighbors {
		p := Peer{Addr: n.Addr, ASN: n.ASN, State: stateConnect}
		if !n.AcceptV4 && !n.AcceptV6 {
			p.State = StateNoFamily
		}
		if i := slices.IndexFunc(sessions, func(p Peer) bool { return p.Addr == n.Addr }); i >= 0 {
			p = sessions[i]
		}
		for _, t := range s.transports {
			if t.neighbor.Addr != n.Addr || p.Established() {
				continue
			}
			if text := t.failure.Load(); text != nil {
				p.Error = *text
			}
			if text := t.notified.Load(); text != nil {
				p.Notification = *text
			}
		}
		out = append(out, p)
	}
	s.liveness.note(out)
	slices.SortFunc(out, func(a, b Peer) int { return a.Addr.Compare(b.Addr) })
	return out, nil
}

// Close ends the sessions with a Cease; the peers drop what was announced.
func (s *Speaker) Close() error {
	s.stopDial()
	s.liveness.mute()
	errs := []error{s.in.stop(context.Background())}
	for _, l := range s.listeners {
		errs = append(errs, l.Close())
	}
	late := time.AfterFunc(closeTimeout, s.kill)
	s.wg.Wait()
	late.Stop()
	s.kill()
	errs = append(errs, s.liveness.close())
	return errors.Join(errs...)
}
