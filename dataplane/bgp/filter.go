package bgp

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	api "github.com/osrg/gobgp/v3/api"
)

// withheldName is the set of prefixes that the i-th neighbor is not told, one a family: gobgp's
// sets hold one family each.
func withheldName(i int, v4 bool) string {
	if v4 {
		return fmt.Sprintf("withheld-%d-v4", i)
	}
	return fmt.Sprintf("withheld-%d-v6", i)
}

// filter makes an export policy that rejects what a neighbor is not to be told. Its sets start
// with a prefix that nobody announces, since an empty set is no set to gobgp.
func (s *Speaker) filter(ctx context.Context) error {
	var statements []*api.Statement
	for i, t := range s.transports {
		peers := fmt.Sprintf("alias-%d", i)
		sets := []*api.DefinedSet{{DefinedType: api.DefinedType_NEIGHBOR, Name: peers, List: []string{netip.PrefixFrom(t.alias, 32).String()}}}
		for _, v4 := range []bool{true, false} {
			name := withheldName(i, v4)
			sets = append(sets, prefixSet(name, nobody(v4)))
			statements = append(statements, &api.Statement{
				Name: name,
				Conditions: &api.Conditions{
					NeighborSet: &api.MatchSet{Type: api.MatchSet_ANY, Name: peers},
					PrefixSet:   &api.MatchSet{Type: api.MatchSet_ANY, Name: name},
				},
				Actions: &api.Actions{RouteAction: api.RouteAction_REJECT},
			})
		}
		for _, set := range sets {
			if err := s.in.srv.AddDefinedSet(ctx, &api.AddDefinedSetRequest{DefinedSet: set}); err != nil {
				return fmt.Errorf("define %s: %w", set.Name, err)
			}
		}
	}
	if len(statements) == 0 {
		return nil
	}
	policy := &api.Policy{Name: "withhold", Statements: statements}
	if err := s.in.srv.AddPolicy(ctx, &api.AddPolicyRequest{Policy: policy}); err != nil {
		return fmt.Errorf("add export policy: %w", err)
	}
	err := s.in.srv.AddPolicyAssignment(ctx, &api.AddPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
		Name: "global", Direction: api.PolicyDirection_EXPORT, DefaultAction: api.RouteAction_ACCEPT,
		Policies: []*api.Policy{{Name: "withhold"}},
	}})
	if err != nil {
		return fmt.Errorf("assign export policy: %w", err)
	}
	return nil
}

func nobody(v4 bool) netip.Prefix {
	if v4 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), 32)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 128)
}

// refuse makes an import policy that rejects prefixes and all that lies within them.
func (in *instance) refuse(ctx context.Context, prefixes []netip.Prefix) error {
	if len(prefixes) == 0 {
		return nil
	}
	policy := &api.Policy{Name: "refuse"}
	for i, p := range prefixes {
		set := prefixSet(fmt.Sprintf("refused-%d", i), p)
		set.Prefixes[0].MaskLengthMax = uint32(p.Addr().BitLen())
		if err := in.srv.AddDefinedSet(ctx, &api.AddDefinedSetRequest{DefinedSet: set}); err != nil {
			return fmt.Errorf("define %s: %w", set.Name, err)
		}
		policy.Statements = append(policy.Statements, &api.Statement{
			Name:       set.Name,
			Conditions: &api.Conditions{PrefixSet: &api.MatchSet{Type: api.MatchSet_ANY, Name: set.Name}},
			Actions:    &api.Actions{RouteAction: api.RouteAction_REJECT},
		})
	}
	if err := in.srv.AddPolicy(ctx, &api.AddPolicyRequest{Policy: policy}); err != nil {
		return fmt.Errorf("add import policy: %w", err)
	}
	err := in.srv.AddPolicyAssignment(ctx, &api.AddPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
		Name: "global", Direction: api.PolicyDirection_IMPORT, DefaultAction: api.RouteAction_ACCEPT,
		Policies: []*api.Policy{policy},
	}})
	if err != nil {
		return fmt.Errorf("assign import policy: %w", err)
	}
	return nil
}

func prefixSet(name string, p netip.Prefix) *api.DefinedSet {
	return &api.DefinedSet{DefinedType: api.DefinedType_PREFIX, Name: name, Prefixes: []*api.Prefix{{
		IpPrefix: p.String(), MaskLengthMin: uint32(p.Bits()), MaskLengthMax: uint32(p.Bits()),
	}}}
}

// withhold brings the sets in line with one announcement before it is made.
func (s *Speaker) withhold(ctx context.Context, a Announcement) error {
	for i, t := range s.transports {
		set := prefixSet(withheldName(i, a.Prefix.Addr().Is4()), a.Prefix)
		var err error
		if slices.Contains(a.Withhold, t.neighbor.Addr) {
			err = s.in.srv.AddDefinedSet(ctx, &api.AddDefinedSetRequest{DefinedSet: set})
		} else {
			err = s.in.srv.DeleteDefinedSet(ctx, &api.DeleteDefinedSetRequest{DefinedSet: set})
		}
		if err != nil {
			return fmt.Errorf("filter %s for %s: %w", a.Prefix, t.neighbor.Addr, err)
		}
	}
	return nil
}
