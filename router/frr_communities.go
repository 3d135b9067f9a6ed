package router

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/spklab/spklab/dataplane/bgp"
)

// frrHops are the next hops of a path: one, or of IPv6 a global and a link-local one.
type frrHops []struct {
	IP    string `json:"ip"`
	Scope string `json:"scope"`
}

// addr is the next hop, of an IPv6 pair the global one.
func (h frrHops) addr() netip.Addr {
	for _, n := range h {
		if n.Scope == "global" {
			return parseAddr(n.IP)
		}
	}
	if len(h) == 0 {
		return netip.Addr{}
	}
	return parseAddr(h[0].IP)
}

// frrTagged is what is read of `show bgp FAMILY unicast community json`: the paths that have any.
type frrTagged struct {
	Routes map[string]json.RawMessage `json:"routes"`
}

// frrDetail is what is read of `show bgp FAMILY unicast PREFIX json`.
type frrDetail struct {
	Paths []struct {
		Community struct {
			List []string `json:"list"`
		} `json:"community"`
		Nexthops frrHops `json:"nexthops"`
	} `json:"paths"`
}

// frrCommunities adds the communities, which FRR 8.4 tells of single prefixes alone.
func frrCommunities(ctx context.Context, dir, family string, paths []bgp.Path) error {
	ask := func(into any, what string) error {
		text, err := vty(ctx, filepath.Join(dir, "bgpd.vty"), fmt.Sprintf("show bgp %s unicast %s json", family, what))
		if err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(text), into); err != nil {
			return fmt.Errorf("decode FRR's answer about %s: %w", what, err)
		}
		return nil
	}
	var tagged frrTagged
	if err := ask(&tagged, "community"); err != nil {
		return err
	}
	for prefix := range tagged.Routes {
		var detail frrDetail
		if err := ask(&detail, prefix); err != nil {
			return err
		}
		for _, d := range detail.Paths {
			for i := range paths {
				if paths[i].Prefix.String() == prefix && paths[i].NextHop == d.Nexthops.addr() {
					paths[i].Communities = d.Community.List
				}
			}
		}
	}
	return nil
}
