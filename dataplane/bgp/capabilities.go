package bgp

import (
	"slices"

	api "github.com/osrg/gobgp/v3/api"
	"google.golang.org/protobuf/types/known/anypb"
)

// Words of Peer.Capabilities.
const (
	CapabilityIPv4            = "ipv4-unicast" // RFC 4760
	CapabilityIPv6            = "ipv6-unicast"
	CapabilityRouteRefresh    = "route-refresh"    // RFC 2918
	CapabilityASN32           = "4-octet-as"       // RFC 6793
	CapabilityGracefulRestart = "graceful-restart" // RFC 4724
)

// capabilities are those of a peer's OPEN that have a word, sorted, once each.
func capabilities(said []*anypb.Any) []string {
	var out []string
	for _, c := range said {
		msg, err := c.UnmarshalNew()
		if err != nil {
			continue // one that gobgp has no message for
		}
		switch v := msg.(type) {
		case *api.MultiProtocolCapability:
			switch f := v.GetFamily(); {
			case f.GetSafi() != api.Family_SAFI_UNICAST:
			case f.GetAfi() == api.Family_AFI_IP:
				out = append(out, CapabilityIPv4)
			case f.GetAfi() == api.Family_AFI_IP6:
				out = append(out, CapabilityIPv6)
			}
		case *api.RouteRefreshCapability:
			out = append(out, CapabilityRouteRefresh)
		case *api.FourOctetASNCapability:
			out = append(out, CapabilityASN32)
		case *api.GracefulRestartCapability:
			out = append(out, CapabilityGracefulRestart)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
