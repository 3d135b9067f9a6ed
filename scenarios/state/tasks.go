package state

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/ovn"
	"github.com/spklab/spklab/ovnsim/forward"
	"github.com/spklab/spklab/topo"
)

// tasks are all that the lab asks for. Of the lab only what does not change is used by them.
func (c *Collector) tasks() ([]task, error) {
	l := c.lab
	nodes, err := l.Nodes()
	if err != nil {
		return nil, err
	}
	dir := l.Manifests()
	tasks := []task{
		{delivers: []string{Processes}, run: func(context.Context) (delivery, error) { return only(Processes, processes(nodes), nil) }},
		{delivers: []string{Manifests}, run: func(context.Context) (delivery, error) {
			found, err := manifests(dir)
			return only(Manifests, found, err)
		}},
	}
	for _, n := range nodes {
		tasks = append(tasks, kernelTask(n))
		switch n.Kind {
		case lab.KindTMM:
			tasks = append(tasks, c.tmmTasks(n)...)
		case lab.KindRouter:
			tasks = append(tasks, routerTasks(l, n)...)
		case lab.KindWorker:
			tasks = append(tasks, workerTasks(l, n)...)
		}
	}
	if strings.HasPrefix(l.Spec.Fabric.Driver, "ovn") {
		tasks = append(tasks, task{delivers: []string{NBRows}, run: func(ctx context.Context) (delivery, error) {
			t, err := l.Northbound(ctx)
			return only(NBRows, nbRows(t), err)
		}})
	}
	return tasks, nil
}

// only is a delivery of one collector.
func only(collector string, found Objects, err error) (delivery, error) {
	if err != nil {
		return delivery{}, err
	}
	return delivery{values: map[string]Objects{collector: found}}, nil
}

// processes are under NODE for the node and NODE PROCESS for what runs there.
func processes(nodes []lab.Node) Objects {
	out := Objects{}
	for _, n := range nodes {
		out[n.Name] = n.Kind
		for _, p := range n.Processes {
			out[n.Name+" "+p.Name] = "ended"
			if len(p.PIDs) > 0 {
				out[n.Name+" "+p.Name] = "runs"
			}
		}
	}
	return out
}

func kernelTask(n lab.Node) task {
	return task{node: n.Name, delivers: []string{Links, Rules, Routes, Neighbours}, run: func(context.Context) (d delivery, err error) {
		return d, topo.Do(n.Netns, func() (err error) {
			d.values, err = kernelState()
			return err
		})
	}}
}

// tmmTasks read a TMM: its maps, which outlive its process, and what the process says.
func (c *Collector) tmmTasks(n lab.Node) []task {
	socket := c.lab.Socket(n.Name)
	return []task{
		{node: n.Name, delivers: []string{Maps, Counters}, run: func(context.Context) (delivery, error) {
			return c.readMaps(filepath.Join(c.lab.Runtime().PinDir(), n.Name), n.Netns)
		}},
		{node: n.Name, delivers: []string{Proxy}, run: func(ctx context.Context) (delivery, error) {
			var st control.Status
			err := ctl.Get(ctx, socket, ctl.PathState, &st)
			return only(Proxy, proxyObjects(&st), err)
		}},
		{node: n.Name, delivers: []string{RIB}, run: func(ctx context.Context) (delivery, error) {
			var rib bgp.RIB
			err := ctl.Get(ctx, socket, bgp.PathRIB, &rib)
			return only(RIB, ribObjects(rib), err)
		}},
	}
}

// readMaps reads what a TMM has pinned. That the interfaces have no names any more, since the namespace
// is gone, keeps nobody from reading the maps.
func (c *Collector) readMaps(dir, netns string) (delivery, error) {
	var links map[int]string
	_ = topo.Do(netns, func() (err error) {
		links, err = linkNames()
		return err
	})
	p, err := openPinned(dir, links, &c.types)
	if err != nil {
		return delivery{}, err
	}
	defer p.close()
	var d delivery
	d.values = map[string]Objects{}
	d.values[Maps], d.gaps = p.objects()
	counters, err := p.counters()
	if err == nil {
		d.values[Counters] = counters
	}
	return d, err
}

func routerTasks(l *lab.Lab, n lab.Node) []task {
	var out []task
	for _, p := range n.Processes {
		socket := l.Socket(p.Name)
		out = append(out, task{node: n.Name, delivers: []string{RIB}, run: func(ctx context.Context) (delivery, error) {
			var rib bgp.RIB
			var st bgp.RouterState
			err := errors.Join(ctl.Get(ctx, socket, bgp.PathRIB, &rib), ctl.Get(ctx, socket, ctl.PathState, &st))
			found := ribObjects(rib)
			addSessions(found, st.Peers)
			return only(RIB, found, err)
		}})
	}
	return out
}

func workerTasks(l *lab.Lab, n lab.Node) []task {
	socket := l.Socket("ovn-node-" + n.Name)
	switch {
	case l.Spec.Fabric.Real():
		dir, programs := filepath.Join(l.Dir(), "ovn", n.Name), l.Programs()
		return []task{
			{node: n.Name, delivers: []string{Forwarding}, run: func(ctx context.Context) (delivery, error) {
				var st ovn.NodeState
				err := ctl.Get(ctx, socket, ctl.PathState, &st)
				return only(Forwarding, portObjects(st), err)
			}},
			{node: n.Name, delivers: []string{Conntrack}, run: func(ctx context.Context) (delivery, error) {
				text, err := ovn.Conntrack(ctx, dir)
				if err != nil {
					return delivery{}, err
				}
				return trackedObjects(text), nil
			}},
			{node: n.Name, delivers: []string{Flows}, run: func(ctx context.Context) (delivery, error) { return readFlows(ctx, programs, dir) }},
		}
	case l.Spec.Fabric.Driver == "ovn":
		return []task{
			{node: n.Name, delivers: []string{Forwarding}, run: func(ctx context.Context) (delivery, error) {
				var st forward.State
				err := ctl.Get(ctx, socket, ctl.PathState, &st)
				return only(Forwarding, forwardingObjects(&st), err)
			}},
			{node: n.Name, delivers: []string{Conntrack}, run: func(ctx context.Context) (delivery, error) {
				var conns []forward.Conn
				if err := ctl.Get(ctx, socket, forward.PathConns, &conns); err != nil {
					return delivery{}, err
				}
				return connObjects(conns), nil
			}},
		}
	}
	return nil
}
