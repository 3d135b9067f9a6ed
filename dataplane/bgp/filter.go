package bgp

import (
	"context"
	"fmt"
	"net/netip"

	api "github.com/osrg/gobgp/v3/api"
)

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
