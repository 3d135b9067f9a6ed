package control

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/api"
)

// services are what the TMM accepts on the VLANs that say so, and whether that leaves dynamic
// routing out.
func (p *planner) services() {
	for i := range p.vlans {
		v := &p.vlans[i]
		if v.spec.Allowed == nil {
			continue
		}
		out := dataplane.Services{Interface: v.number}
		for _, a := range v.spec.Allowed {
			port, err := a.Number()
			protocols, _ := a.Protocols()
			for _, protocol := range protocols {
				s := dataplane.Service{Protocol: protocolOf(protocol), Port: port}
				if err == nil && !slices.Contains(out.Allowed, s) {
					out.Allowed = append(out.Allowed, s)
				}
			}
		}
		p.out.State.Services = append(p.out.State.Services, out)
		p.routingServices(v)
	}
}

// routingServices tells of BGP neighbors on a VLAN that accepts no BGP.
func (p *planner) routingServices(v *vlanOnLink) {
	values := p.res.Values
	if values == nil || !values.TMM.DynamicRouting.Enabled {
		return
	}
	neighbors := values.TMM.DynamicRouting.TMMRouting.Config.BGP.Neighbors
	for i := range neighbors {
		n := &neighbors[i]
		if !n.IP.IsValid() || !v.holds(n.IP) {
			continue
		}
		if missing := v.spec.Unlisted(n); len(missing) > 0 {
			p.warn(ReasonInput, v.ref, fmt.Sprintf("allowed_services does not list %s: BGP neighbor %s cannot begin a session with this TMM, and one that this TMM begins is all there is; write {protocol: tcp, port: %d}, and {protocol: udp, port: %d} for BFD",
				strings.Join(missing, " and "), n.IP, api.PortBGP, api.PortBFD))
		}
	}
}
