package bgp

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	api "github.com/osrg/gobgp/v3/api"
	"google.golang.org/protobuf/types/known/anypb"
)

// What one neighbor is told apart from the others is written onto the path itself, as a large
// community (RFC 8092) that no neighbor sees: mark:NEIGHBOR:WHAT, with the neighbor's place among the
// transports. Export policies match it, so that a path that replaces another is held back, altered or
// withdrawn at each neighbor by itself, without a word to the others.
const (
	mark     = 4294967295 // no AS number (RFC 7300)
	markHide = 0          // the neighbor is not told; higher ones are what transport.told lists
)

// Told is what one neighbor is told of an announcement apart from the others.
type Told struct {
	Neighbor netip.Addr `json:"neighbor"`
	Policy
}

// Policy is what a route map sets, and the next hop where the neighbor's is another. The zero value sets nothing.
type Policy struct {
	NextHop     netip.Addr `json:"next_hop,omitzero"` // of the prefix's family, instead of the announcement's
	MED         *uint32    `json:"med,omitempty"`
	LocalPref   *uint32    `json:"local_pref,omitempty"`  // told to internal neighbors only (RFC 4271, 5.1.5)
	Communities []string   `json:"communities,omitempty"` // 65001:100; the path has no others
}

// IsZero says whether nothing is set.
func (p Policy) IsZero() bool {
	return !p.NextHop.IsValid() && p.MED == nil && p.LocalPref == nil && len(p.Communities) == 0
}

func (p Policy) equal(o Policy) bool {
	same := func(a, b *uint32) bool { return a == b || a != nil && b != nil && *a == *b }
	return p.NextHop == o.NextHop && same(p.MED, o.MED) && same(p.LocalPref, o.LocalPref) && slices.Equal(p.Communities, o.Communities)
}

func (t Told) equal(o Told) bool { return t.Neighbor == o.Neighbor && t.Policy.equal(o.Policy) }

// policies assigns the export policies: hide for each neighbor, tell with what neighbors are told (it
// grows as that is wanted), clean, which takes the marks off.
func (s *Speaker) policies(ctx context.Context) error {
	var hide []*api.Statement
	for i, t := range s.transports {
		set := &api.DefinedSet{DefinedType: api.DefinedType_NEIGHBOR, Name: peerSet(i), List: []string{netip.PrefixFrom(t.alias, 32).String()}}
		if err := s.in.srv.AddDefinedSet(ctx, &api.AddDefinedSetRequest{DefinedSet: set}); err != nil {
			return fmt.Errorf("define %s: %w", set.Name, err)
		}
		st, err := s.statement(ctx, i, markHide)
		if err != nil {
			return err
		}
		st.Actions = &api.Actions{RouteAction: api.RouteAction_REJECT}
		hide = append(hide, st)
	}
	if len(hide) == 0 {
		return nil
	}
	all := []*api.Policy{
		{Name: policyHide, Statements: hide},
		{Name: policyTell, Statements: []*api.Statement{{Name: policyTell, Conditions: hide[0].Conditions, Actions: &api.Actions{}}}},
		{Name: policyClean, Statements: []*api.Statement{{Name: policyClean, Conditions: &api.Conditions{}, Actions: &api.Actions{
			LargeCommunity: &api.CommunityAction{Type: api.CommunityAction_REMOVE, Communities: []string{fmt.Sprintf("^%d:.*$", uint32(mark))}},
		}}}},
	}
	for _, p := range all {
		if err := s.in.srv.AddPolicy(ctx, &api.AddPolicyRequest{Policy: p}); err != nil {
			return fmt.Errorf("add export policy %s: %w", p.Name, err)
		}
	}
	err := s.in.srv.AddPolicyAssignment(ctx, &api.AddPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
		Name: "global", Direction: api.PolicyDirection_EXPORT, DefaultAction: api.RouteAction_ACCEPT, Policies: all,
	}})
	if err != nil {
		return fmt.Errorf("assign export policies: %w", err)
	}
	return nil
}

const (
	policyHide  = "hide"
	policyTell  = "tell"
	policyClean = "clean"
)

func peerSet(i int) string { return fmt.Sprintf("alias-%d", i) }

// statement is one for paths with a mark, at the neighbor that it is for.
func (s *Speaker) statement(ctx context.Context, i, what int) (*api.Statement, error) {
	name := fmt.Sprintf("mark-%d-%d", i, what)
	set := &api.DefinedSet{DefinedType: api.DefinedType_LARGE_COMMUNITY, Name: name, List: []string{fmt.Sprintf("^%d:%d:%d$", uint32(mark), i, what)}}
	if err := s.in.srv.AddDefinedSet(ctx, &api.AddDefinedSetRequest{DefinedSet: set}); err != nil {
		return nil, fmt.Errorf("define %s: %w", name, err)
	}
	return &api.Statement{Name: name, Conditions: &api.Conditions{
		NeighborSet:       &api.MatchSet{Type: api.MatchSet_ANY, Name: peerSet(i)},
		LargeCommunitySet: &api.MatchSet{Type: api.MatchSet_ANY, Name: name},
	}}, nil
}

// marks are those of an announcement, nil where all neighbors are told the same.
func (s *Speaker) marks(ctx context.Context, a Announcement) (*anypb.Any, error) {
	var out []*api.LargeCommunity
	for i, t := range s.transports {
		what := -1
		told := slices.IndexFunc(a.Told, func(w Told) bool { return w.Neighbor == t.neighbor.Addr })
		switch {
		case slices.Contains(a.Withhold, t.neighbor.Addr):
			what = markHide
		case told >= 0:
			var err error
			if what, err = s.tell(ctx, i, a.Told[told].Policy); err != nil {
				return nil, err
			}
		}
		if what >= 0 {
			out = append(out, &api.LargeCommunity{GlobalAdmin: mark, LocalData1: uint32(i), LocalData2: uint32(what)})
		}
	}
	if out == nil {
		return nil, nil
	}
	attr, err := anypb.New(&api.LargeCommunitiesAttribute{Communities: out})
	if err != nil {
		return nil, fmt.Errorf("encode marks: %w", err)
	}
	return attr, nil
}

// tell returns the mark of paths by which the neighbor is told this, or -1 where it is nothing; the
// statement for it is made when it is first wanted.
func (s *Speaker) tell(ctx context.Context, i int, p Policy) (int, error) {
	t := s.transports[i]
	if t.neighbor.ASN != s.asn {
		p.LocalPref = nil
	}
	if p.IsZero() {
		return -1, nil
	}
	if k := slices.IndexFunc(t.told, p.equal); k >= 0 {
		return markHide + 1 + k, nil
	}
	what := markHide + 1 + len(t.told)
	st, err := s.statement(ctx, i, what)
	if err != nil {
		return -1, err
	}
	st.Actions = &api.Actions{}
	if p.NextHop.IsValid() {
		st.Actions.Nexthop = &api.NexthopAction{Address: p.NextHop.String()}
	}
	if p.MED != nil {
		st.Actions.Med = &api.MedAction{Type: api.MedAction_REPLACE, Value: int64(*p.MED)}
	}
	if p.LocalPref != nil {
		st.Actions.LocalPref = &api.LocalPrefAction{Value: *p.LocalPref}
	}
	if len(p.Communities) > 0 {
		st.Actions.Community = &api.CommunityAction{Type: api.CommunityAction_REPLACE, Communities: p.Communities}
	}
	if err := s.in.srv.AddPolicy(ctx, &api.AddPolicyRequest{Policy: &api.Policy{Name: policyTell, Statements: []*api.Statement{st}}}); err != nil {
		return -1, fmt.Errorf("tell %s: %w", t.neighbor.Addr, err)
	}
	t.told = append(t.told, p)
	return what, nil
}
