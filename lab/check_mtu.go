package lab

import (
	"fmt"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/topo"
)

// checkMTUs asks that a VLAN says the MTU of the networks that its interfaces are cabled to: a longer one
// the kernel refuses, and with a shorter one what others send is lost without a word.
func checkMTUs(spec *topo.Lab, res api.Resources) []api.Finding {
	if res.Values == nil || len(spec.Workers) == 0 {
		return nil
	}
	networks := res.Values.Networks()
	var out []api.Finding
	for i := range res.VLANs {
		v := &res.VLANs[i]
		for _, number := range v.Spec.Interfaces {
			var n int
			if _, err := fmt.Sscanf(number, "1.%d", &n); err != nil || n < 1 || n > len(networks) || v.Spec.MTU == 0 {
				continue // api.Check says so
			}
			network := cabledTo(spec, res, networks[n-1])
			if network.Name == "" {
				continue // checkNADs says so
			}
			f := api.Finding{Severity: api.SeverityError, Object: api.Ref(api.KindVLAN, v)}
			switch have := networkMTU(spec, network.Name); {
			case v.Spec.MTU > have:
				f.Message = fmt.Sprintf("mtu %d is above the %d of network %s, to which interface %s is cabled", v.Spec.MTU, have, network.Name, number)
			case v.Spec.MTU < have:
				f.Severity = api.SeverityWarning
				f.Message = fmt.Sprintf("mtu %d is below the %d of network %s: longer packets from there are lost without an ICMP error", v.Spec.MTU, have, network.Name)
			default:
				continue
			}
			f.Hint = fmt.Sprintf("write mtu: %d, or another mtu of the network in the lab file", networkMTU(spec, network.Name))
			out = append(out, f)
		}
	}
	return out
}
