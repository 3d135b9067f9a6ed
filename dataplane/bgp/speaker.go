package bgp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	api "github.com/osrg/gobgp/v3/api"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/spklab/spklab/ctl"
)

// stateNoFamily is the state of a neighbor whose configuration accepts no address family
// (acceptsIPv4 and acceptsIPv6 are false, their default): no session is opened.
const stateNoFamily = "NO_FAMILY"

// SpeakerConfig is what a Speaker is and whom it talks to.
type SpeakerConfig struct {
	ASN       uint32
	RouterID  netip.Addr // an IPv4 address
	Port      int        // to listen on; 0 = 179, -1 = do not listen
	Neighbors []Neighbor
	Log       *ctl.Log // may be nil
}

// Neighbor is one entry of tmm.dynamicRouting.tmmRouting.config.bgp.neighbors.
type Neighbor struct {
	Addr     netip.Addr
	ASN      uint32
	AcceptV4 bool
	AcceptV6 bool
	Password string // TCP MD5 (RFC 2385), empty for none; never logged
	Multihop uint8  // TTL of an eBGP session over several hops, 0 = directly connected
}

// Announcement is a prefix with the next hop that peers are told.
type Announcement struct {
	Prefix  netip.Prefix
	NextHop netip.Addr // of the prefix's family
}

// Speaker announces prefixes to its neighbors. It is safe for concurrent use.
type Speaker struct {
	in        *instance
	neighbors []Neighbor
	cancel    context.CancelFunc

	mu        sync.Mutex
	announced map[netip.Prefix]netip.Addr
}

// NewSpeaker opens the sessions; they come up in their own time. The caller must Close it.
func NewSpeaker(ctx context.Context, cfg SpeakerConfig) (*Speaker, error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	if cfg.Port == 0 {
		cfg.Port = Port
	}
	in, err := start(ctx, cfg.ASN, cfg.RouterID, int32(cfg.Port), nil, cfg.Log)
	if err != nil {
		cancel()
		return nil, err
	}
	s := &Speaker{in: in, neighbors: cfg.Neighbors, cancel: cancel, announced: map[netip.Prefix]netip.Addr{}}
	for _, n := range cfg.Neighbors {
		if err := s.addNeighbor(ctx, n); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

func (s *Speaker) addNeighbor(ctx context.Context, n Neighbor) error {
	if !n.AcceptV4 && !n.AcceptV6 {
		return nil
	}
	p := &api.Peer{
		Conf:     &api.PeerConf{NeighborAddress: n.Addr.String(), PeerAsn: n.ASN, AuthPassword: n.Password},
		AfiSafis: families(n.AcceptV4, n.AcceptV6),
		Timers:   timers(),
	}
	if n.Multihop > 0 {
		p.EbgpMultihop = &api.EbgpMultihop{Enabled: true, MultihopTtl: uint32(n.Multihop)}
	}
	if err := s.in.srv.AddPeer(ctx, &api.AddPeerRequest{Peer: p}); err != nil {
		return fmt.Errorf("add BGP neighbor %s: %w", n.Addr, err)
	}
	return nil
}

// Set makes exactly these prefixes announced: what is new is announced, what changed its next
// hop is replaced, the rest is withdrawn. It returns once the updates are queued to the peers.
func (s *Speaker) Set(ctx context.Context, want []Announcement) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	keep := map[netip.Prefix]bool{}
	for _, a := range want {
		keep[a.Prefix] = true
		if s.announced[a.Prefix] == a.NextHop {
			continue
		}
		if err := s.addPath(ctx, a); err != nil {
			return err
		}
		s.announced[a.Prefix] = a.NextHop
	}
	for prefix, hop := range s.announced {
		if keep[prefix] {
			continue
		}
		if err := s.deletePath(ctx, Announcement{prefix, hop}); err != nil {
			return err
		}
		delete(s.announced, prefix)
	}
	return nil
}

func (s *Speaker) addPath(ctx context.Context, a Announcement) error {
	p, err := path(a)
	if err != nil {
		return err
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
	if a.Prefix.Addr().Is4() != a.NextHop.Is4() {
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
	out, err := s.in.peers(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range s.neighbors {
		if !n.AcceptV4 && !n.AcceptV6 {
			out = append(out, Peer{Addr: n.Addr, ASN: n.ASN, State: stateNoFamily})
		}
	}
	slices.SortFunc(out, func(a, b Peer) int { return a.Addr.Compare(b.Addr) })
	return out, nil
}

// Close ends the sessions with a Cease; the peers drop what was announced.
func (s *Speaker) Close() error {
	err := s.in.stop(context.Background())
	s.cancel()
	return err
}
