package diagnose

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/scenarios/report"
)

// collector collects the evidence of one moment. What fails is an error and the rest goes on.
type collector struct {
	lab   *lab.Lab
	res   api.Resources
	in    *lab.Inspection
	nodes map[string]*node
	held  map[string]dataplane.Held // by TMM
	out   Evidence
}

// Collect asks the running lab. before are the counts when the scenario began, see [Counts]. An error
// says what is missing from the evidence, which is good for the rest.
func Collect(ctx context.Context, l *lab.Lab, s report.Scenario, before map[Count]uint64) (Evidence, error) {
	c := &collector{lab: l, held: map[string]dataplane.Held{}, out: Evidence{Scenario: s, Kinds: map[string]string{}}}
	var err error
	if c.res, err = l.Resources(); err != nil {
		return c.out, err
	}
	if c.in, err = l.Inspect(ctx); err != nil {
		return c.out, err
	}
	if c.nodes, err = readNodes(l); err != nil {
		return c.out, err
	}
	var errs []error
	for _, collect := range []func(context.Context) error{c.processes, c.network, c.dataplanes, c.conns, c.lacks} {
		errs = append(errs, collect(ctx))
	}
	now, err := Counts(l)
	c.counts(before, now)
	return c.out, errors.Join(append(errs, err)...)
}

// processes files who runs and answers. A pod that is on its way out owes nothing.
func (c *collector) processes(context.Context) error {
	leaving := map[string]bool{}
	for i := range c.res.Pods {
		if p := &c.res.Pods[i]; p.DeletionTimestamp != nil {
			leaving[p.Name] = true
		}
	}
	meant := stopped(c.out.Scenario.Events)
	for _, n := range c.in.Nodes {
		c.out.Kinds[n.Name] = n.Kind
		for _, p := range n.Processes {
			if !leaving[n.Name] {
				c.out.Processes = append(c.out.Processes, Process{Node: n.Name, Name: p.Name, Alive: len(p.PIDs) > 0, Silence: c.in.Silent[p.Name],
					Meant: slices.ContainsFunc(p.PIDs, func(pid int) bool { return meant[report.ProcessObject(pid)] })})
			}
		}
	}
	return nil
}

// stopped are the objects of the processes that the scenario has stopped, and whether they still are.
func stopped(events []report.Event) map[string]bool {
	out := map[string]bool{}
	for _, e := range events {
		if e.Source == report.EventsOwn && (e.Kind == report.EventStopped || e.Kind == report.EventResumed) {
			out[e.Object] = e.Kind == report.EventStopped
		}
	}
	return out
}

// network files links, neighbours, self-IPs and announcements.
func (c *collector) network(context.Context) error {
	steps, err := c.lab.Runtime().Applied()
	if err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	c.out.Links = links(steps, c.nodes)
	for _, name := range slices.Sorted(maps.Keys(c.nodes)) {
		c.out.Disowned = append(c.out.Disowned, c.nodes[name].disowned...)
	}
	c.out.Neighbours = neighbours(c.nodes)
	c.out.Legs = legs(c.lab.Spec, c.nodes, c.in.TMMs)
	for _, a := range lab.Announcements(c.lab.Spec, c.res, c.in) {
		c.out.Announcements = append(c.out.Announcements, Announcement{
			TMM: short(a.TMM), Router: a.Router, Prefix: a.Prefix, NextHop: a.NextHop,
			Announced: a.Announced, Established: a.Established, Learned: a.Learned,
		})
	}
	return nil
}

// pins is where a TMM's maps are.
func pins(l *lab.Lab, tmm string) string { return filepath.Join(l.Runtime().PinDir(), tmm) }

// dataplanes files what the maps of each TMM hold, whether its process answers or not.
func (c *collector) dataplanes(context.Context) error {
	var errs []error
	for _, n := range c.in.Nodes {
		if n.Kind != lab.KindTMM {
			continue
		}
		held, err := dataplane.Look(pins(c.lab, n.Name))
		if err != nil {
			errs = append(errs, fmt.Errorf("maps of %s: %w", n.Name, err))
			continue
		}
		c.held[n.Name] = held
		errs = append(errs, c.flows(n.Name, held))
	}
	for i := range c.in.TMMs {
		st := &c.in.TMMs[i]
		for _, k := range st.Conditions {
			if k.Severity == api.SeverityError {
				c.out.Conditions = append(c.out.Conditions, Condition{TMM: short(st.Pod), Reason: k.Reason, Message: k.Message})
			}
		}
		c.servers(st)
	}
	return errors.Join(errs...)
}

// servers compares the virtual servers that a TMM should have with those that its programs find.
func (c *collector) servers(st *control.Status) {
	held, ok := c.held[short(st.Pod)]
	if !ok {
		return
	}
	for _, vs := range lab.Wanted(c.res, st).State.Canonical().VirtualServers {
		name := fmt.Sprintf("%s %s", vs.Protocol, vs.Destination)
		if vs.HostBits > 0 {
			name = fmt.Sprintf("%s %s/%d port %d", vs.Protocol, vs.Destination.Addr(), vs.Destination.Addr().BitLen()-vs.HostBits, vs.Destination.Port())
		}
		s := Server{TMM: short(st.Pod), Map: "spk_vs4", Name: name}
		i := slices.IndexFunc(held.Servers, func(h dataplane.Serving) bool {
			return h.Protocol == vs.Protocol && h.Destination == vs.Destination && h.HostBits == vs.HostBits
		})
		if s.Absent = i < 0; s.Absent {
			if vs.Destination.Addr().Is6() {
				s.Map = "spk_vs6"
			}
			c.out.Servers = append(c.out.Servers, s)
			continue
		}
		s.Map = held.Servers[i].Map
		for _, m := range wantedMembers(vs.Members) {
			if !slices.Contains(held.Servers[i].Members, m.Addr) {
				s.Lost = append(s.Lost, m.Addr)
			}
		}
		for _, have := range held.Servers[i].Members {
			if !slices.ContainsFunc(vs.Members, func(m dataplane.Member) bool { return m.Addr == have }) {
				s.Strange = append(s.Strange, have)
			}
		}
		c.out.Servers = append(c.out.Servers, s)
	}
}

// wantedMembers are those that get new connections: draining ones only where there is no other.
func wantedMembers(members []dataplane.Member) []dataplane.Member {
	ready := slices.DeleteFunc(slices.Clone(members), func(m dataplane.Member) bool { return m.Draining })
	if len(ready) == 0 {
		return members
	}
	return ready
}

// conns files the workers' conntrack beside that of the TMMs.
func (c *collector) conns(ctx context.Context) error {
	if !strings.HasPrefix(c.lab.Spec.Fabric.Driver, "ovn") {
		return nil
	}
	camesBy := map[dataplane.Ends]string{}
	for _, f := range c.out.Flows {
		if f.Forward && !f.Egress {
			camesBy[dataplane.Ends{From: f.NewTo, To: f.NewFrom}] = f.TMM
		}
	}
	tmms := c.gateways()
	var errs []error
	for _, w := range c.lab.Spec.Workers {
		conns, err := c.lab.Conns(ctx, w.Name)
		if err != nil {
			errs = append(errs, fmt.Errorf("conntrack of %s: %w", w.Name, err))
		}
		for _, k := range conns {
			by, ok := camesBy[dataplane.Ends{From: k.Pod, To: k.Peer}]
			goes := tmms[k.MAC]
			if k.Gateway.IsValid() {
				goes = tmms[k.Gateway.String()]
			}
			if ok {
				c.out.Conns = append(c.out.Conns, Conn{Worker: w.Name, Pod: k.Pod, Peer: k.Peer, CameBy: by, GoesBy: goes})
			}
		}
	}
	return errors.Join(errs...)
}

// gateways are the TMMs by the addresses and the MACs of their interfaces.
func (c *collector) gateways() map[string]string {
	out := map[string]string{}
	for _, n := range c.nodes {
		if n.Kind != lab.KindTMM {
			continue
		}
		for link, addrs := range n.addrs {
			if k, ok := n.links[link]; ok && len(k.Attrs().HardwareAddr) > 0 {
				out[k.Attrs().HardwareAddr.String()] = n.Name
			}
			for _, a := range addrs {
				out[a.Addr().String()] = n.Name
			}
		}
	}
	return out
}

// lacks files what the lab itself finds missing.
func (c *collector) lacks(ctx context.Context) (err error) {
	c.out.Lacks, err = c.lab.Missing(ctx)
	return err
}

// counts files what has grown.
func (c *collector) counts(before, now map[Count]uint64) {
	for k, n := range now {
		was, ok := before[k]
		if _, ours := c.out.Kinds[k.Node]; ours && ok && n > was { // another lab's name may begin like this one's
			k.N = n - was
			c.out.Counts = append(c.out.Counts, k)
		}
	}
	slices.SortFunc(c.out.Counts, func(a, b Count) int { return strings.Compare(a.Node+" "+a.Name, b.Node+" "+b.Name) })
}

// namespaces is where the kernel's named network namespaces are.
const namespaces = "/run/netns"

// Counts are the drops of the TMMs' dataplanes and the packets with wrong checksums that the nodes' kernels
// have met, by a Count whose N is 0. It goes by what is in the kernel, as it is called for every scenario
// and the objects take long to read. A pod that is about to come or go has none.
func Counts(l *lab.Lab) (map[Count]uint64, error) {
	out := map[Count]uint64{}
	entries, err := os.ReadDir(namespaces)
	if err != nil {
		return nil, fmt.Errorf("list network namespaces: %w", err)
	}
	for _, e := range entries {
		node, ours := strings.CutPrefix(e.Name(), l.Runtime().Netns(""))
		if !ours {
			continue
		}
		sums, _ := wrongSums(e.Name())
		for name, v := range sums {
			out[Count{Node: node, Name: name}] = v
		}
	}
	tmms, err := os.ReadDir(l.Runtime().PinDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list pins: %w", err)
	}
	for _, e := range tmms {
		drops, _ := dataplane.Drops(pins(l, e.Name()))
		for name, v := range drops {
			if strings.HasPrefix(name, "drop_") {
				out[Count{Node: e.Name(), Name: name}] = v
			}
		}
	}
	return out, nil
}
