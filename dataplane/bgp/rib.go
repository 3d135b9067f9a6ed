package bgp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"

	api "github.com/osrg/gobgp/v3/api"

	"github.com/spklab/spklab/ctl"
)

// PathRIB serves a RIB on the control socket of a router and of a TMM.
const PathRIB = "/v1/rib"

// RIB is what one end holds of BGP (RFC 4271, section 3.2). Each list is sorted and never nil.
type RIB struct {
	In  []Path `json:"adj_rib_in"` // as peers have told, before any policy
	Loc []Path `json:"loc_rib"`
	Out []Path `json:"adj_rib_out"` // as peers are told
}

// Path is one path of a RIB.
type Path struct {
	Peer    netip.Addr   `json:"peer,omitzero"` // absent in the Loc-RIB
	Prefix  netip.Prefix `json:"prefix"`
	NextHop netip.Addr   `json:"next_hop"`
	Attributes
	// Best is the one of the Loc-RIB's paths that would be announced on; forwarding may use others as well.
	Best bool `json:"best,omitempty"`
}

// Attributes of a path (RFC 4271, section 5; RFC 1997).
type Attributes struct {
	ASPath      []uint32 `json:"as_path,omitempty"`
	Origin      string   `json:"origin,omitempty"` // IGP, EGP or incomplete
	MED         *uint32  `json:"med,omitempty"`
	LocalPref   *uint32  `json:"local_pref,omitempty"`
	Communities []string `json:"communities,omitempty"` // 65001:100
}

func (p Path) compare(o Path) int {
	return cmp.Or(p.Peer.Compare(o.Peer), p.Prefix.Compare(o.Prefix), p.NextHop.Compare(o.NextHop))
}

// RIB reads the three of them. Adj-RIBs of peers whose session ends meanwhile are left out.
func (s *Speaker) RIB(ctx context.Context) (RIB, error) { return s.in.rib(ctx) }

// ServeRIB answers a request for PathRIB with what read returns.
func ServeRIB(read func(context.Context) (RIB, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		rib, err := read(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		ctl.WriteJSON(w, rib)
	}
}

// Sort sorts the lists.
func (r *RIB) Sort() {
	for _, l := range [][]Path{r.In, r.Loc, r.Out} {
		slices.SortFunc(l, Path.compare)
	}
}

func (in *instance) rib(ctx context.Context) (RIB, error) {
	rib := RIB{In: []Path{}, Loc: []Path{}, Out: []Path{}}
	var peers []string
	err := in.srv.ListPeer(ctx, &api.ListPeerRequest{}, func(p *api.Peer) {
		if p.GetState().GetSessionState() == api.PeerState_ESTABLISHED {
			peers = append(peers, p.GetState().GetNeighborAddress())
		}
	})
	if err != nil {
		return rib, fmt.Errorf("list BGP peers: %w", err)
	}
	if rib.Loc, err = in.list(ctx, api.TableType_GLOBAL, ""); err != nil {
		return rib, err
	}
	for _, peer := range peers {
		received, err := in.list(ctx, api.TableType_ADJ_IN, peer)
		if err != nil {
			continue
		}
		sent, err := in.list(ctx, api.TableType_ADJ_OUT, peer)
		if err != nil {
			continue
		}
		rib.In, rib.Out = append(rib.In, received...), append(rib.Out, sent...)
	}
	rib.Sort()
	return rib, nil
}

// list reads one table, of a peer where it is an Adj-RIB.
func (in *instance) list(ctx context.Context, table api.TableType, peer string) ([]Path, error) {
	out := []Path{}
	var owner netip.Addr
	if peer != "" {
		a, err := netip.ParseAddr(peer)
		if err != nil {
			return nil, fmt.Errorf("peer address: %w", err)
		}
		owner = in.peer(a)
	}
	for _, v4 := range []bool{true, false} {
		var bad error
		err := in.srv.ListPath(ctx, &api.ListPathRequest{TableType: table, Name: peer, Family: unicast(v4)}, func(d *api.Destination) {
			prefix, err := netip.ParsePrefix(d.GetPrefix())
			if err != nil {
				bad = errors.Join(bad, fmt.Errorf("prefix of a path: %w", err))
				return
			}
			for i, p := range d.GetPaths() {
				hop, err := nextHop(p)
				if err != nil {
					bad = errors.Join(bad, fmt.Errorf("path to %s: %w", prefix, err))
					continue
				}
				attrs, err := attributes(p)
				if err != nil {
					bad = errors.Join(bad, fmt.Errorf("path to %s: %w", prefix, err))
					continue
				}
				best := table == api.TableType_GLOBAL && i == 0 // gobgp keeps the best one first
				out = append(out, Path{Peer: owner, Prefix: prefix, NextHop: hop, Attributes: attrs, Best: best})
			}
		})
		if err := errors.Join(err, bad); err != nil {
			return nil, fmt.Errorf("list BGP paths: %w", err)
		}
	}
	slices.SortFunc(out, Path.compare)
	return out, nil
}

// originWord is the word for a code of RFC 4271, section 4.3.
func originWord(code uint32) string {
	words := [...]string{"IGP", "EGP", "incomplete"}
	if int(code) < len(words) {
		return words[code]
	}
	return fmt.Sprint(code)
}

func attributes(p *api.Path) (Attributes, error) {
	var out Attributes
	for _, a := range p.GetPattrs() {
		msg, err := a.UnmarshalNew()
		if err != nil {
			return out, fmt.Errorf("decode attribute: %w", err)
		}
		switch attr := msg.(type) {
		case *api.OriginAttribute:
			out.Origin = originWord(attr.GetOrigin())
		case *api.AsPathAttribute:
			for _, s := range attr.GetSegments() {
				out.ASPath = append(out.ASPath, s.GetNumbers()...)
			}
		case *api.MultiExitDiscAttribute:
			out.MED = &attr.Med
		case *api.LocalPrefAttribute:
			out.LocalPref = &attr.LocalPref
		case *api.CommunitiesAttribute:
			for _, c := range attr.GetCommunities() {
				out.Communities = append(out.Communities, fmt.Sprintf("%d:%d", c>>16, c&0xffff))
			}
		}
	}
	return out, nil
}
