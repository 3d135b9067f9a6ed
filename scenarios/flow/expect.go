package flow

import "net/netip"

// expect is the way that a connection's packets should take in one direction; nil where the topology
// says nothing about it. t is the zero Translation while no TMM is known to have taken it; the way
// ends where nobody can know how it goes on then.
func (n *Network) expect(conn Tuple, t Translation, tmm string, reply bool) []Hop {
	x, ok := n.tmm(tmm)
	if !ok && len(n.TMMs) > 0 {
		x, ok = n.TMMs[0], true // any: the way to each is the same as far as the router
	}
	if !ok {
		return nil
	}
	var w Way
	known := t.TMM != ""
	if c, ok := n.client(conn.Src.Addr()); ok {
		return n.ingress(&w, c, x, conn, t, known, reply)
	}
	if p, ok := n.pod(conn.Src.Addr()); ok {
		return n.egress(&w, p, x, conn, t, known, reply)
	}
	return nil
}

// ingress is the way between a client and a pod behind a virtual server.
func (n *Network) ingress(w *Way, c Client, x TMM, conn Tuple, t Translation, known, reply bool) []Hop {
	if !known {
		if reply {
			return nil
		}
		w.Start(conn.Src, conn.Dst)
		w.ClientToTMM(c, x).Translated(netip.AddrPort{}, netip.AddrPort{}).Leave(x.Name, x.Internal.Link)
		return loose(w.Hops)
	}
	p, ok := n.pod(t.To.Dst.Addr())
	if !ok {
		return nil
	}
	if reply {
		w.Start(t.To.Dst, t.To.Src)
		w.PodToTMM(p, x).Translated(conn.Dst, conn.Src).Routed(1).TMMToClient(x, c)
		return w.Hops
	}
	w.Start(conn.Src, conn.Dst)
	w.ClientToTMM(c, x).Translated(t.To.Src, t.To.Dst).Routed(1).TMMToPod(x, p)
	return w.Hops
}

// egress is the way between a pod and a host outside.
func (n *Network) egress(w *Way, p Pod, x TMM, conn Tuple, t Translation, known, reply bool) []Hop {
	if !known {
		if reply {
			return nil
		}
		w.Start(conn.Src, conn.Dst)
		w.PodToTMM(p, x).Translated(netip.AddrPort{}, netip.AddrPort{}).Leave(x.Name, x.External.Link)
		return loose(w.Hops)
	}
	c, ok := n.client(t.To.Dst.Addr())
	if !ok {
		return nil
	}
	if reply {
		w.Start(t.To.Dst, t.To.Src)
		w.ClientToTMM(c, x).Translated(conn.Dst, conn.Src).Routed(1).TMMToPod(x, p)
		return w.Hops
	}
	w.Start(conn.Src, conn.Dst)
	w.PodToTMM(p, x).Translated(t.To.Src, t.To.Dst).Routed(1).TMMToClient(x, c)
	return w.Hops
}

// loose forgets the TTL of the last hop, which a translation that is not known may have set.
func loose(hops []Hop) []Hop {
	hops[len(hops)-1].TTL = 0
	return hops
}
