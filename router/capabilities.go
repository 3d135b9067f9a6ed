package router

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/spklab/spklab/dataplane/bgp"
)

// frrCapabilities is what is read of a neighbor's neighborCapabilities. A value says who has told it:
// "advertised", "received", "advertisedAndReceived", with "New" after it where there are two codes.
type frrCapabilities struct {
	ASN32      string                                `json:"4byteAs"`
	Refresh    string                                `json:"routeRefresh"`
	Restart    string                                `json:"gracefulRestartCapability"`
	Extensions map[string]map[string]json.RawMessage `json:"multiprotocolExtensions"`
}

// received are those that the neighbor has told, as bgp.Peer has them.
func (c frrCapabilities) received() []string {
	var out []string
	add := func(word, who string) {
		if strings.Contains(strings.ToLower(who), "received") {
			out = append(out, word)
		}
	}
	add(bgp.CapabilityASN32, c.ASN32)
	add(bgp.CapabilityRouteRefresh, c.Refresh)
	add(bgp.CapabilityGracefulRestart, c.Restart)
	for name, word := range map[string]string{"ipv4Unicast": bgp.CapabilityIPv4, "ipv6Unicast": bgp.CapabilityIPv6} {
		for who := range c.Extensions[name] {
			add(word, who)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// birdCapabilities are what a line under "Neighbor capabilities" tells, as bgp.Peer has them; nil where it
// is none of them.
func birdCapabilities(text string) []string {
	text = strings.TrimSpace(text)
	families, ok := strings.CutPrefix(text, "AF announced:")
	if !ok {
		words := map[string]string{
			"Route refresh": bgp.CapabilityRouteRefresh, "Graceful restart": bgp.CapabilityGracefulRestart, "4-octet AS numbers": bgp.CapabilityASN32,
		}
		if w := words[text]; w != "" {
			return []string{w}
		}
		return nil
	}
	var out []string
	for _, f := range strings.Fields(families) {
		if slices.Contains(words(), f) {
			out = append(out, f+"-unicast")
		}
	}
	return out
}
