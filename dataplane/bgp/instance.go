package bgp

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/server"

	"github.com/spklab/spklab/ctl"
)

// connectRetry is the time between attempts to connect, in seconds.
const connectRetry = 1

// instance is one gobgp server with its sessions' ups and downs told to a log.
type instance struct {
	srv *server.BgpServer
	log *ctl.Log
	// changed is told, without blocking, whenever a session or a received path changes.
	changed chan struct{}

	// neighbors maps the address that a session seems to come from to the neighbor's own, nil where
	// they are the same; not changed after start.
	neighbors map[netip.Addr]netip.Addr

	mu       sync.Mutex
	restarts bool                     // peers may restart, and gobgp would hold on to one that has gone
	up       map[netip.Addr]time.Time // peers with an established session, and since when
}

// start brings up a server. A port of -1 does not listen.
func start(ctx context.Context, asn uint32, id netip.Addr, port int32, listen []netip.Addr, neighbors map[netip.Addr]netip.Addr, log *ctl.Log) (*instance, error) {
	in := &instance{
		srv: server.NewBgpServer(server.LoggerOption(quietLogger{})), log: log, neighbors: neighbors,
		changed: make(chan struct{}, 1), up: map[netip.Addr]time.Time{},
	}
	go in.srv.Serve()
	g := &api.Global{Asn: asn, RouterId: id.String(), ListenPort: port}
	for _, a := range listen {
		g.ListenAddresses = append(g.ListenAddresses, a.String())
	}
	if err := in.srv.StartBgp(ctx, &api.StartBgpRequest{Global: g}); err != nil {
		in.srv.Stop()
		return nil, fmt.Errorf("start BGP with ASN %d, router id %s: %w", asn, id, err)
	}
	watch := &api.WatchEventRequest{
		Peer:  &api.WatchEventRequest_Peer{},
		Table: &api.WatchEventRequest_Table{Filters: []*api.WatchEventRequest_Table_Filter{{Type: api.WatchEventRequest_Table_Filter_ADJIN}}},
	}
	if err := in.srv.WatchEvent(ctx, watch, in.onEvent); err != nil {
		in.srv.Stop()
		return nil, fmt.Errorf("watch BGP sessions: %w", err)
	}
	return in, nil
}

// onEvent is called by gobgp, one event at a time.
func (in *instance) onEvent(r *api.WatchEventResponse) {
	if p := r.GetPeer(); p != nil && p.GetPeer().GetState() != nil {
		in.onPeer(p.GetPeer())
	}
	select {
	case in.changed <- struct{}{}:
	default:
	}
}

func (in *instance) onPeer(p *api.Peer) {
	addr, err := netip.ParseAddr(p.GetConf().GetNeighborAddress())
	if err != nil {
		return
	}
	addr = in.peer(addr)
	established := p.GetState().GetSessionState() == api.PeerState_ESTABLISHED
	in.mu.Lock()
	_, was := in.up[addr]
	switch {
	case established && !was:
		in.up[addr] = time.Now()
	case !established && was:
		delete(in.up, addr)
	}
	restarts := in.restarts
	in.mu.Unlock()
	switch {
	case !established && !was && p.GetState().GetSessionState() == api.PeerState_IDLE:
		go in.forget(addr)
	case established && !was:
		in.log.Add(EventSessionUp, addr.String(), fmt.Sprintf("asn %d", p.GetConf().GetPeerAsn()))
	case !established && was:
		in.log.Add(EventSessionDown, addr.String(), p.GetState().GetSessionState().String())
		if restarts {
			go in.forget(addr)
		}
	}
}

// reset ends the session with a neighbor, if there is one, with a Cease; it may come back at once.
func (in *instance) reset(addr netip.Addr, why string) error {
	in.mu.Lock()
	_, up := in.up[addr]
	in.mu.Unlock()
	if !up {
		return nil
	}
	err := in.srv.ResetPeer(context.Background(), &api.ResetPeerRequest{Address: in.seen(addr).String(), Communication: why})
	if err != nil {
		return fmt.Errorf("end the BGP session with %s: %w", addr, err)
	}
	return nil
}

// seen is the address that the neighbor's session seems to come from.
func (in *instance) seen(own netip.Addr) netip.Addr {
	for seen, addr := range in.neighbors {
		if addr == own {
			return seen
		}
	}
	return own
}

// forget removes a dynamic neighbor whose session ended before it was established. gobgp itself
// removes only those that had been; it would refuse this one's connections for 5 seconds
// (holdtimeIdle), and two ends that do so in turns may miss each other for minutes.
func (in *instance) forget(addr netip.Addr) {
	// It fails where the neighbor is gone already, which is what is wanted.
	_ = in.srv.DeletePeer(context.Background(), &api.DeletePeerRequest{Address: in.seen(addr).String()})
}

// peer is the neighbor's own address.
func (in *instance) peer(seen netip.Addr) netip.Addr {
	if a, ok := in.neighbors[seen]; ok {
		return a
	}
	return seen
}

// peers lists the sessions that there are, sorted by address.
func (in *instance) peers(ctx context.Context) ([]Peer, error) {
	out := []Peer{}
	var bad error
	err := in.srv.ListPeer(ctx, &api.ListPeerRequest{}, func(p *api.Peer) {
		addr, err := netip.ParseAddr(p.GetState().GetNeighborAddress()) // a dynamic neighbor has none in Conf
		if err != nil {
			bad = fmt.Errorf("peer address: %w", err)
			return
		}
		addr = in.peer(addr)
		peer := Peer{Addr: addr, ASN: p.GetConf().GetPeerAsn(), State: p.GetState().GetSessionState().String()}
		in.mu.Lock()
		if since, ok := in.up[addr]; ok && peer.Established() {
			peer.Uptime = time.Since(since)
			peer.HoldTime = uint16(p.GetTimers().GetState().GetNegotiatedHoldTime())
			peer.Capabilities = capabilities(p.GetState().GetRemoteCap())
		}
		in.mu.Unlock()
		out = append(out, peer)
	})
	if err != nil {
		return nil, fmt.Errorf("list BGP peers: %w", err)
	}
	slices.SortFunc(out, func(a, b Peer) int { return a.Addr.Compare(b.Addr) })
	return out, bad
}

// stop ends every session with a Cease (RFC 4486: administrative shutdown).
func (in *instance) stop(ctx context.Context) error {
	err := in.srv.StopBgp(ctx, &api.StopBgpRequest{})
	in.srv.Stop()
	if err != nil {
		return fmt.Errorf("stop BGP: %w", err)
	}
	return nil
}

// accept lets any address of a range open a session. Such dynamic neighbors live as long as
// their session and may come back at once, where gobgp holds a configured one for 5 seconds
// (holdtimeIdle) and dials no sooner than 1 to 2 seconds after that.
func (in *instance) accept(ctx context.Context, rg PeerRange, afis []*api.AfiSafi, multihop int, restart uint16) error {
	name := rg.Prefix.String()
	group := &api.PeerGroup{
		Conf:      &api.PeerGroupConf{PeerGroupName: name, PeerAsn: rg.ASN, AuthPassword: rg.Password},
		AfiSafis:  afis,
		Timers:    rg.Timers.api(),
		Transport: &api.Transport{PassiveMode: true},
	}
	if restart > 0 {
		in.mu.Lock()
		in.restarts = true
		in.mu.Unlock()
		group.GracefulRestart = &api.GracefulRestart{Enabled: true, RestartTime: uint32(restart)}
		for _, f := range afis {
			f.MpGracefulRestart = &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: true}}
		}
	}
	if multihop > 1 {
		group.EbgpMultihop = &api.EbgpMultihop{Enabled: true, MultihopTtl: uint32(multihop)}
	}
	if err := in.srv.AddPeerGroup(ctx, &api.AddPeerGroupRequest{PeerGroup: group}); err != nil {
		return fmt.Errorf("add peer group %s: %w", name, err)
	}
	dyn := &api.DynamicNeighbor{Prefix: name, PeerGroup: name}
	if err := in.srv.AddDynamicNeighbor(ctx, &api.AddDynamicNeighborRequest{DynamicNeighbor: dyn}); err != nil {
		return fmt.Errorf("accept neighbors from %s: %w", name, err)
	}
	return nil
}

func (t Timers) api() *api.Timers {
	t = t.Effective()
	return &api.Timers{Config: &api.TimersConfig{
		ConnectRetry: connectRetry, HoldTime: uint64(t.HoldTime), KeepaliveInterval: uint64(t.Keepalive), IdleHoldTimeAfterReset: 1,
	}}
}

// families enables address families in the order that gobgp is given them.
func families(v4, v6 bool) []*api.AfiSafi {
	var out []*api.AfiSafi
	add := func(f *api.Family) {
		out = append(out, &api.AfiSafi{Config: &api.AfiSafiConfig{Family: f, Enabled: true}})
	}
	if v4 {
		add(unicast(true))
	}
	if v6 {
		add(unicast(false))
	}
	return out
}

// limited gives each family a maximum of prefixes, 0 for none.
func limited(afis []*api.AfiSafi, prefixes uint32) []*api.AfiSafi {
	for _, a := range afis {
		a.PrefixLimits = &api.PrefixLimit{Family: a.Config.Family, MaxPrefixes: prefixes}
	}
	return afis
}

func unicast(v4 bool) *api.Family {
	if v4 {
		return &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}
	}
	return &api.Family{Afi: api.Family_AFI_IP6, Safi: api.Family_SAFI_UNICAST}
}

func join(addrs []netip.Addr) string {
	s := make([]string, len(addrs))
	for i, a := range addrs {
		s[i] = a.String()
	}
	return strings.Join(s, ",")
}
