package lab

import (
	"context"
	"fmt"
	"slices"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/topo/picture"
)

// Sketch draws what `up` would make.
func Sketch(src *Source, opt Options) (picture.Picture, error) {
	plan, _, err := Preview(src, opt)
	if err != nil {
		return picture.Picture{}, err
	}
	res, _, err := api.Decode(src.Objects)
	if err != nil {
		return picture.Picture{}, err
	}
	res, _ = settled(src.Spec, res, pools(src.Spec, src.Hardware, src.Inventory, res))
	nodes := labNodes(src.Spec)
	for i := range res.Pods {
		nodes = append(nodes, podNode(&res.Pods[i]))
	}
	var drawn []picture.Node
	for _, n := range inColumns(nodes) {
		drawn = append(drawn, picture.Node{Name: n.Name, Kind: n.Kind, Group: n.Worker})
	}
	return picture.New(src.Spec.Name+" ("+src.Spec.Fabric.Driver+"), as planned", src.Spec.Name, plan.Steps(), drawn), nil
}

// Picture draws the running lab and how each of its nodes does.
func (l *Lab) Picture(ctx context.Context) (picture.Picture, error) {
	steps, err := l.rt.Applied()
	if err != nil {
		return picture.Picture{}, err
	}
	in, err := l.Inspect(ctx)
	if err != nil {
		return picture.Picture{}, err
	}
	var drawn []picture.Node
	for _, n := range inColumns(in.Nodes) {
		drawn = append(drawn, in.picture(n))
	}
	return picture.New(l.Name()+" ("+in.Fabric+")", l.Name(), append(steps, selfIPs(l.rt.Netns, in.TMMs)...), drawn), nil
}

// selfIPs are the addresses that the TMMs have set themselves, as if the lab had.
func selfIPs(netnsOf func(node string) string, tmms []control.Status) []topo.Step {
	var out []topo.Step
	for i := range tmms {
		netns := netnsOf(selfOf(&tmms[i]).Name)
		for _, v := range tmms[i].VLANs {
			at := slices.IndexFunc(tmms[i].Interfaces, func(f control.InterfaceStatus) bool { return v.On(f.Number) })
			if at < 0 {
				continue
			}
			link := tmms[i].Interfaces[at].Name
			if tag := v.Tag(); tag != 0 {
				link = fmt.Sprintf("%s.%d", link, tag)
			}
			for _, ip := range v.SelfIPs {
				out = append(out, topo.Step{Addr: &topo.AddrStep{Netns: netns, Link: link, Prefix: ip}})
			}
		}
	}
	return out
}

// inColumns puts every worker before its pods, then routers and clients; the switch is no node of a
// picture.
func inColumns(nodes []Node) []Node {
	var out []Node
	for _, w := range nodes {
		if w.Kind != KindWorker {
			continue
		}
		out = append(out, w)
		for _, kind := range []string{KindPod, KindTMM} {
			for _, p := range nodes {
				if p.Kind == kind && p.Worker == w.Name {
					out = append(out, p)
				}
			}
		}
	}
	for _, n := range nodes {
		if n.Kind == KindRouter || n.Kind == KindClient {
			out = append(out, n)
		}
	}
	return out
}

// picture says how a node does, and what it does in a few words.
func (in *Inspection) picture(n Node) picture.Node {
	p := picture.Node{Name: n.Name, Kind: n.Kind, Group: n.Worker, State: picture.Good}
	for _, process := range n.Processes {
		if _, silent := in.Silent[process.Name]; silent {
			p.State, p.Notes = picture.Bad, append(p.Notes, process.Name+" gives no answer")
		}
	}
	if p.State == picture.Bad {
		return p
	}
	switch n.Kind {
	case KindTMM:
		in.pictureTMM(n, &p)
	case KindRouter:
		in.pictureRouter(n, &p)
	case KindPod:
		i := slices.IndexFunc(in.Pods, func(x PodInfo) bool { return x.Name == n.Name && x.Worker == n.Worker })
		if i < 0 || !in.Pods[i].Ready {
			p.State, p.Notes = picture.Bad, append(p.Notes, "not ready")
		}
	}
	return p
}

func (in *Inspection) pictureTMM(n Node, p *picture.Node) {
	for i := range in.TMMs {
		t := &in.TMMs[i]
		if self := selfOf(t); self.Name != n.Name {
			continue
		}
		if !t.Serving {
			p.State, p.Notes = picture.Bad, append(p.Notes, "does not serve")
		}
		up, announced := 0, 0
		for _, vs := range t.VirtualServers {
			up += one(vs.State == control.StateUp)
			announced += one(vs.Announced)
		}
		established := 0
		for _, peer := range t.BGP.Peers {
			established += one(peer.Established())
		}
		if established < len(t.BGP.Peers) {
			p.State = picture.Bad
		}
		p.Notes = append(p.Notes, fmt.Sprintf("%d of %d virtual servers up", up, len(t.VirtualServers)),
			fmt.Sprintf("%d announced, BGP %d of %d", announced, established, len(t.BGP.Peers)))
	}
}

func (in *Inspection) pictureRouter(n Node, p *picture.Node) {
	i := slices.IndexFunc(in.Routers, func(r bgp.RouterState) bool { return r.Name == n.Name })
	if i < 0 {
		return
	}
	established := 0
	for _, peer := range in.Routers[i].Peers {
		established += one(peer.Established())
	}
	p.Notes = append(p.Notes, fmt.Sprintf("AS %d, %d BGP sessions", in.Routers[i].ASN, established), fmt.Sprintf("%d routes", len(in.Routers[i].Routes)))
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}
