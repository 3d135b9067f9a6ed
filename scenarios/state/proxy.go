package state

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
)

// proxyObjects are what a TMM says of itself, without traffic and ages.
func proxyObjects(st *control.Status) Objects {
	out := Objects{"serving": fmt.Sprint(st.Serving)}
	for _, i := range st.Interfaces {
		out["interface "+i.Number] = fmt.Sprintf("%s network %s mac %s mtu %d mode %s", i.Name, i.Network, i.MAC, i.MTU, i.Mode)
	}
	for _, v := range st.VLANs {
		out["vlan "+v.Name] = fmt.Sprintf("interface %s internal %t self-ips %v", v.Interface, v.Internal, v.SelfIPs)
	}
	for _, f := range st.Frontends {
		text := string(f.Frontend)
		for _, p := range f.Programs {
			if p.ID == 0 {
				text += fmt.Sprintf(", %s at %s is gone", p.Role, p.At)
			}
		}
		out["front end "+f.Name] = text
	}
	for _, e := range st.Egresses {
		out["egress "+e.Name] = fmt.Sprintf("snat %s programmed %t sources %v", e.SNAT, e.Programmed, e.Sources)
	}
	for _, c := range st.Conditions {
		key := "condition " + c.Reason + " " + c.Object
		out[key] = join(out[key], c.Severity+": "+c.Message)
	}
	for i := range st.VirtualServers {
		addServer(out, &st.VirtualServers[i])
	}
	addSessions(out, st.BGP.Peers)
	return out
}

func addServer(out Objects, vs *control.VirtualServerStatus) {
	key := strings.Join([]string{"virtual server", vs.Name, vs.Protocol, vs.Where()}, " ")
	text := fmt.Sprintf("%s programmed %t announced %t snat %s", vs.State, vs.Programmed, vs.Announced, vs.SNAT)
	if vs.Reason != "" {
		text += ": " + vs.Reason
	}
	out[key] = text
	for _, m := range slices.Concat(vs.Members, vs.Out) {
		text := m.State
		if m.Reason != "" {
			text += ": " + m.Reason
		}
		out[key+" member "+m.Address.String()] = text
	}
}

// addSessions adds the states of BGP sessions.
func addSessions(out Objects, peers []bgp.Peer) {
	for _, p := range peers {
		text := fmt.Sprintf("%s asn %d", p.State, p.ASN)
		if p.BFD != "" {
			text += " bfd " + p.BFD
		}
		if p.Error != "" {
			text += ": " + p.Error
		}
		out["session "+p.Addr.String()] = text
	}
}

// ribObjects are the next hops of every prefix, by table and peer.
func ribObjects(rib bgp.RIB) Objects {
	out := Objects{}
	for name, paths := range map[string][]bgp.Path{"adj-rib-in": rib.In, "loc-rib": rib.Loc, "adj-rib-out": rib.Out} {
		for _, p := range paths {
			key := name
			if p.Peer.IsValid() {
				key += " " + p.Peer.String()
			}
			key += " " + p.Prefix.String()
			out[key] = join(out[key], "via "+p.NextHop.String())
		}
	}
	return out
}

// join puts a further value beside those that a key has, in their order.
func join(have, more string) string {
	if have == "" {
		return more
	}
	parts := append(strings.Split(have, "; "), more)
	slices.Sort(parts)
	return strings.Join(parts, "; ")
}
