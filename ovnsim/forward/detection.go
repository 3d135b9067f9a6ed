package forward

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/spklab/spklab/bfd"
	"github.com/spklab/spklab/ovnsim/nbdb"
	"github.com/spklab/spklab/ovnsim/northbound"
)

// detection runs the BFD sessions that the rows of a node's gateway router ask for, as ovn-controller
// does, and gives the rows their status, as ovn-northd does. It belongs to one goroutine.
type detection struct {
	changed  chan struct{} // gets something when a session's state has changed
	speakers map[netip.Addr]*bfd.Speaker
}

func newDetection() *detection {
	return &detection{changed: make(chan struct{}, 1), speakers: map[netip.Addr]*bfd.Speaker{}}
}

// SessionState is a BFD session with a gateway.
type SessionState struct {
	Gateway netip.Addr `json:"gateway"`
	Status  string     `json:"status"` // as the database has it: down, init, up, admin_down
}

// follow makes the sessions those of the rows, and the rows' status in s that of the sessions. It
// returns the rows whose status was another: they are to be written.
func (d *detection) follow(node string, s *northbound.Topology) ([]nbdb.BFD, error) {
	sessions, errs := wantedSessions(node, *s)
	for local := range d.speakers {
		if _, ok := sessions[local]; !ok {
			errs = append(errs, d.speakers[local].Close())
			delete(d.speakers, local)
		}
	}
	states := map[netip.Addr]bfd.State{}
	for local, peers := range sessions {
		if err := d.speak(local, peers, states); err != nil {
			errs = append(errs, err)
		}
	}
	var stale []nbdb.BFD
	for i := range s.BFDs {
		row := &s.BFDs[i]
		if row.LogicalPort != externalPort(node) {
			continue
		}
		status := bfd.AdminDown.String()
		if hop, err := netip.ParseAddr(row.DstIP); err == nil && used(node, *s, row) {
			status = max(states[hop], bfd.Down).String()
		}
		if row.Status == nil || *row.Status != status {
			row.Status = &status
			stale = append(stale, *row)
		}
	}
	return stale, errors.Join(errs...)
}

// speak makes the sessions of a local address those with peers, and notes their states.
func (d *detection) speak(local netip.Addr, peers map[netip.Addr]bfd.Times, states map[netip.Addr]bfd.State) error {
	sp, ok := d.speakers[local]
	if !ok {
		var err error
		if sp, err = bfd.Listen(local, func(bfd.Change) { d.poke() }); err != nil {
			return err
		}
		d.speakers[local] = sp
	}
	err := sp.Set(peers)
	for peer, state := range sp.States() {
		states[peer] = state
	}
	return err
}

func (d *detection) poke() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

func (d *detection) close() error {
	var errs []error
	for _, sp := range d.speakers {
		errs = append(errs, sp.Close())
	}
	return errors.Join(errs...)
}

// wantedSessions are the sessions of the node's rows, by the router's own address and the gateway's.
// A row that no route uses has none.
func wantedSessions(node string, s northbound.Topology) (map[netip.Addr]map[netip.Addr]bfd.Times, []error) {
	out := map[netip.Addr]map[netip.Addr]bfd.Times{}
	var errs []error
	for i := range s.BFDs {
		row := &s.BFDs[i]
		if row.LogicalPort != externalPort(node) || !used(node, s, row) {
			continue
		}
		peer, err := netip.ParseAddr(row.DstIP)
		if err != nil {
			errs = append(errs, fmt.Errorf("dst_ip of a BFD row: %w", err))
			continue
		}
		local := nodeAddress(s, node, peer)
		if !local.IsValid() {
			errs = append(errs, fmt.Errorf("BFD with %s: port %s has no address of its family", peer, row.LogicalPort))
			continue
		}
		if out[local] == nil {
			out[local] = map[netip.Addr]bfd.Times{}
		}
		out[local][peer] = bfd.Times{MinTx: millis(row.MinTx), MinRx: millis(row.MinRx), Multiplier: multiplier(row.DetectMult)}
	}
	return out, errs
}

// used says whether a route of the node's router to the row's address asks for the row.
func used(node string, s northbound.Topology, row *nbdb.BFD) bool {
	i := findRouter(s, node)
	return i >= 0 && slices.ContainsFunc(s.Routes, func(r nbdb.LogicalRouterStaticRoute) bool {
		return r.BFD != nil && *r.BFD == row.UUID && r.Nexthop == row.DstIP && slices.Contains(s.Routers[i].StaticRoutes, r.UUID)
	})
}

// millis reads a column of milliseconds that may be empty.
func millis(column *int) time.Duration {
	if column == nil {
		return 0
	}
	return time.Duration(*column) * time.Millisecond
}

func multiplier(column *int) uint8 {
	if column == nil {
		return 0
	}
	return uint8(min(*column, 255))
}

// installed says whether the state of a route's BFD session lets it be: northd leaves out a route whose
// session is down (v23.03.1 parsed_routes_add, v25.03.1 bfd_is_up), and a row of another address is none of its.
func installed(r *nbdb.LogicalRouterStaticRoute, rows []nbdb.BFD) bool {
	if r.BFD == nil {
		return true
	}
	i := slices.IndexFunc(rows, func(b nbdb.BFD) bool { return b.UUID == *r.BFD })
	if i < 0 || rows[i].DstIP != r.Nexthop {
		return true
	}
	status := rows[i].Status
	return status != nil && *status != nbdb.BFDStatusDown && *status != nbdb.BFDStatusAdminDown
}

// sessionStates are the rows of the node's router.
func sessionStates(node string, rows []nbdb.BFD) []SessionState {
	var out []SessionState
	for i := range rows {
		hop, err := netip.ParseAddr(rows[i].DstIP)
		if err != nil || rows[i].LogicalPort != externalPort(node) || rows[i].Status == nil {
			continue
		}
		out = append(out, SessionState{hop, *rows[i].Status})
	}
	slices.SortFunc(out, func(a, b SessionState) int { return a.Gateway.Compare(b.Gateway) })
	return out
}
