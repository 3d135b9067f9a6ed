package lab

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/cni"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/kubesim"
	"github.com/spklab/spklab/topo"
)

// maxRounds bounds a converge: a recreated deployment takes three.
const maxRounds = 8

// converge runs the controllers and brings the machine to what they decide, until neither has
// anything left to do. A pod on its way out is first shown so to everybody (its deletion
// timestamp, its endpoint no longer ready), then its process is asked to end, then its object
// goes: as in Kubernetes, who sends it traffic learns first.
func (l *Lab) converge(ctx context.Context) ([]api.Finding, error) {
	env, err := l.env()
	if err != nil {
		return nil, err
	}
	var findings []api.Finding
	for range maxRounds {
		old, err := l.store.read()
		if err != nil {
			return nil, err
		}
		var now api.Resources
		now, findings, err = l.reconcile(old)
		if err != nil {
			return findings, err
		}
		plan, err := Plan(l.Spec, now, env)
		if err != nil {
			return findings, err
		}
		if err := l.rt.Converge(ctx, plan, l.step); err != nil {
			return findings, err
		}
		changed, err := l.settle(ctx, now)
		if err != nil || !changed {
			return findings, err
		}
	}
	return findings, errors.New("the controllers do not come to rest: a mistake in spklab")
}

// reconcile runs the controllers once and stores what they decide.
func (l *Lab) reconcile(old api.Resources) (api.Resources, []api.Finding, error) {
	withNodes := old
	withNodes.Nodes = machines(l.Spec)
	inv, err := l.inventory()
	if err != nil {
		return api.Resources{}, nil, err
	}
	networks, err := l.reservations()
	if err != nil {
		return api.Resources{}, nil, err
	}
	now, findings := kubesim.Reconcile(withNodes, kubesim.Options{Now: time.Now(), OVN: isOVN(l.Spec), Reservations: networks, NICMAC: l.Spec.NICMAC, Pools: pools(l.Spec, l.cards, inv, old)})
	for name, r := range networks {
		if err := r.Write(filepath.Join(l.networksDir(), filepath.FromSlash(name))); err != nil {
			return now, findings, err
		}
	}
	return now, findings, l.store.putControlled(old, now)
}

// networksDir is where host-local's reservations stand, below it a directory NODE/NETWORK each.
func (l *Lab) networksDir() string { return filepath.Join(l.rt.Dir(), "cni", "networks") }

// reservations are host-local's, by node and network.
func (l *Lab) reservations() (map[string]cni.Reservations, error) {
	out := map[string]cni.Reservations{}
	dirs, err := filepath.Glob(filepath.Join(l.networksDir(), "*", "*"))
	if err != nil {
		return nil, fmt.Errorf("list networks: %w", err)
	}
	for _, dir := range dirs {
		r, err := cni.ReadReservations(dir)
		if err != nil {
			return nil, err
		}
		out[filepath.Base(filepath.Dir(dir))+"/"+filepath.Base(dir)] = r
	}
	return out, nil
}

// settle does what follows once the machine is as planned: pods whose processes run and are connected are marked
// so, pods whose processes are gone are deleted.
func (l *Lab) settle(ctx context.Context, now api.Resources) (changed bool, err error) {
	var stay, start, gone []*corev1.Pod
	for i := range now.Pods {
		p := now.Pods[i].DeepCopy()
		if p.DeletionTimestamp != nil {
			gone = append(gone, p)
			continue
		}
		stay = append(stay, p)
		if kubesim.Runnable(p) && p.Status.Phase != corev1.PodRunning && !imageless(p) {
			start = append(start, p)
		}
	}
	if len(gone) == 0 && len(start) == 0 {
		return false, nil
	}
	l.connect(ctx, now, start)
	for _, p := range start {
		kubesim.Run(p, node(now.Nodes, p.Spec.NodeName), time.Now())
	}
	after := now
	after.Pods = nil
	for _, p := range stay {
		after.Pods = append(after.Pods, *p)
	}
	if err := l.store.putControlled(now, after); err != nil {
		return false, err
	}
	l.disconnect(ctx, now, gone)
	return true, nil
}

func node(nodes []corev1.Node, name string) *corev1.Node {
	for i := range nodes {
		if nodes[i].Name == name {
			return &nodes[i]
		}
	}
	return &corev1.Node{}
}

// step passes the runtime's progress on.
func (l *Lab) step(p topo.Progress) {
	what := "making "
	if p.Undo {
		what = "removing "
	}
	l.tell(Event{Text: what + stepName(p.Step), Done: p.Done, Total: p.Total})
}

// stepName is a step in the few words that a progress line has room for.
func stepName(s topo.Step) string {
	switch {
	case s.Process != nil:
		return "process " + s.Process.Name
	case s.Netns != nil:
		return "namespace " + s.Netns.Name
	case s.PF != nil:
		return fmt.Sprintf("%d VFs of %s", s.PF.NumVFs, s.PF.Address)
	case s.Macvlan != nil:
		return fmt.Sprintf("macvlan %s in %s", s.Macvlan.Name, s.Macvlan.Netns)
	case s.Route != nil:
		return "route to " + s.Route.To.String()
	}
	return "network"
}
