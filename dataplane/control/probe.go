package control

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spklab/spklab/dataplane/api"
)

// Times of probing: how long an answer may take, and how soon to ask again while something
// does not answer.
const (
	probeWait  = 200 * time.Millisecond
	probeAgain = 2 * time.Second
)

// answered says which targets answered on which interface number.
type answered map[string]map[netip.Addr]bool

// probing is one question: who answers where.
type probing struct {
	probes     []Probe
	interfaces []Interface
	vlans      []VLANStatus
}

// prober asks whenever the question changes, and goes on asking while a target does not
// answer where it should.
type prober struct {
	questions chan probing
	result    func([]Condition)
}

func newProber(result func([]Condition)) *prober {
	return &prober{questions: make(chan probing, 1), result: result}
}

// ask replaces the question; one goroutine calls it.
func (p *prober) ask(q probing) {
	select {
	case <-p.questions:
	default:
	}
	p.questions <- q
}

func (p *prober) run(ctx context.Context) error {
	var q probing
	again := time.NewTimer(time.Hour)
	again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case next := <-p.questions:
			if reflect.DeepEqual(next, q) {
				continue
			}
			q = next
		case <-again.C:
		}
		a := everywhere(ctx, q)
		p.result(swapped(q, a))
		if slices.ContainsFunc(q.probes, func(pr Probe) bool { return !a[pr.Number][pr.Target] }) {
			again.Reset(probeAgain)
		} else {
			again.Stop()
		}
	}
}

// everywhere asks for every target on every interface at once. An interface that cannot be
// asked has no answers; what is wrong with it is told elsewhere.
func everywhere(ctx context.Context, q probing) answered {
	var targets []netip.Addr
	for _, p := range q.probes {
		targets = append(targets, p.Target)
	}
	found := make([]map[netip.Addr]bool, len(q.interfaces))
	g, _ := errgroup.WithContext(ctx)
	for i, f := range q.interfaces {
		g.Go(func() error {
			found[i], _ = answers(f.Name, targets, probeWait)
			return nil
		})
	}
	_ = g.Wait()
	out := answered{}
	for i, f := range q.interfaces {
		out[f.Number] = found[i]
	}
	return out
}

// swapped finds VLANs none of whose targets answers on their own interface while one answers
// on another: the networks are attached in another order than the VLANs expect.
func swapped(q probing, a answered) []Condition {
	var out []Condition
	byVLAN := map[string][]Probe{}
	var names []string
	for _, p := range q.probes {
		if byVLAN[p.VLAN] == nil {
			names = append(names, p.VLAN)
		}
		byVLAN[p.VLAN] = append(byVLAN[p.VLAN], p)
	}
	slices.Sort(names)
	for _, name := range names {
		probes := byVLAN[name]
		if slices.ContainsFunc(probes, func(p Probe) bool { return a[p.Number][p.Target] }) {
			continue
		}
		for _, f := range q.interfaces {
			i := slices.IndexFunc(probes, func(p Probe) bool { return f.Number != p.Number && a[f.Number][p.Target] })
			if i >= 0 {
				out = append(out, swappedCondition(q, probes[i], f))
				break
			}
		}
	}
	return out
}

func swappedCondition(q probing, p Probe, other Interface) Condition {
	network := "?"
	if i := slices.IndexFunc(q.interfaces, func(f Interface) bool { return f.Number == p.Number }); i >= 0 {
		network = q.interfaces[i].Network
	}
	var order []string
	for _, f := range q.interfaces {
		order = append(order, f.Network)
	}
	for i, n := range order {
		switch n {
		case network:
			order[i] = other.Network
		case other.Network:
			order[i] = network
		}
	}
	return Condition{
		Severity: api.SeverityError, Reason: ReasonInterfacesSwapped, Object: api.KindVLAN + " " + p.VLAN,
		Message: fmt.Sprintf("%s (%s) does not answer on interface %s (%s), and answers on %s (%s): the networks are attached in another order than the VLANs expect; write tmm.cniNetworks: %s, or interfaces: [%q] in the VLAN",
			p.Target, p.What, p.Number, network, other.Number, other.Network, strings.Join(order, ","), other.Number),
	}
}
