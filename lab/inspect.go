package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/kubesim"
)

// askTimeout bounds how long a process may take to answer.
const askTimeout = 3 * time.Second

// eventsTimeout is the same for events: on a busy machine a missing answer would be taken for a thing that
// never happened.
const eventsTimeout = 10 * time.Second

// Inspection is a running lab as its processes tell it.
type Inspection struct {
	Lab     string                     `json:"lab"`
	Source  string                     `json:"source"`
	Fabric  string                     `json:"fabric"`
	State   string                     `json:"state_dir"`
	Nodes   []Node                     `json:"nodes"`
	Pods    []PodInfo                  `json:"pods"`
	TMMs    []control.Status           `json:"tmms"`
	Routers []bgp.RouterState          `json:"routers"`
	OVN     map[string]json.RawMessage `json:"ovn,omitempty"` // state documents by process
	// Silent are the processes that gave no answer, with the reason.
	Silent map[string]string `json:"silent,omitempty"`
}

// PodInfo is a pod in the words of `kubectl get pods -o wide`.
type PodInfo struct {
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	Phase     string   `json:"phase"` // Pending, Running, Terminating
	Ready     bool     `json:"ready"`
	Worker    string   `json:"worker"`
	IPs       []string `json:"ips"`
}

// Inspect asks every process of the lab for its state. A process that does not answer is named,
// not an error.
func (l *Lab) Inspect(ctx context.Context) (*Inspection, error) {
	nodes, err := l.Nodes()
	if err != nil {
		return nil, err
	}
	res, err := l.store.read()
	if err != nil {
		return nil, err
	}
	in := &Inspection{
		Lab: l.Name(), Source: l.Source, Fabric: l.Spec.Fabric.Driver, State: l.Dir(), Nodes: nodes,
		Pods: []PodInfo{}, TMMs: []control.Status{}, Routers: []bgp.RouterState{}, OVN: map[string]json.RawMessage{}, Silent: map[string]string{},
	}
	for i := range res.Pods {
		in.Pods = append(in.Pods, podInfo(&res.Pods[i]))
	}
	l.ask(ctx, in)
	slices.SortFunc(in.TMMs, func(a, b control.Status) int { return strings.Compare(a.Pod, b.Pod) })
	slices.SortFunc(in.Routers, func(a, b bgp.RouterState) int { return strings.Compare(a.Name, b.Name) })
	return in, nil
}

func podInfo(p *corev1.Pod) PodInfo {
	info := PodInfo{Namespace: p.Namespace, Name: p.Name, Phase: string(p.Status.Phase), Ready: kubesim.Ready(p), Worker: p.Spec.NodeName, IPs: []string{}}
	if p.DeletionTimestamp != nil {
		info.Phase = "Terminating"
	}
	if info.Phase == "" {
		info.Phase = string(corev1.PodPending)
	}
	for _, ip := range p.Status.PodIPs {
		info.IPs = append(info.IPs, ip.IP)
	}
	return info
}

// ask asks all processes at once.
func (l *Lab) ask(ctx context.Context, in *Inspection) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var mu sync.Mutex
	var g errgroup.Group
	for _, n := range in.Nodes {
		for _, p := range n.Processes {
			g.Go(func() error {
				var doc json.RawMessage
				err := ctl.Get(ctx, l.Socket(p.Name), ctl.PathState, &doc)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					err = in.add(n, p.Name, doc)
				}
				if err != nil {
					in.Silent[p.Name] = err.Error()
				}
				return nil
			})
		}
	}
	_ = g.Wait() // the functions return no error
}

// add files a state document by what its process is.
func (in *Inspection) add(n Node, process string, doc json.RawMessage) error {
	switch {
	case n.Kind == KindTMM:
		var st control.Status
		if err := json.Unmarshal(doc, &st); err != nil {
			return fmt.Errorf("decode state of %s: %w", process, err)
		}
		in.TMMs = append(in.TMMs, st)
	case n.Kind == KindRouter:
		var st bgp.RouterState
		if err := json.Unmarshal(doc, &st); err != nil {
			return fmt.Errorf("decode state of %s: %w", process, err)
		}
		in.Routers = append(in.Routers, st)
	case strings.HasPrefix(process, "ovn-"), strings.HasPrefix(process, "ovs-"):
		in.OVN[process] = doc
	}
	return nil
}

// Events are what happened in all processes of the lab that answer, oldest first.
func (l *Lab) Events(ctx context.Context) ([]ctl.Event, error) { return l.EventsSince(ctx, 0) }

// EventsSince is Events without those before a moment of CLOCK_MONOTONIC, in nanoseconds.
func (l *Lab) EventsSince(ctx context.Context, at int64) ([]ctl.Event, error) {
	nodes, err := l.Nodes()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, eventsTimeout)
	defer cancel()
	var mu sync.Mutex
	var g errgroup.Group
	all := []ctl.Event{}
	path := fmt.Sprintf("%s?since=%d", ctl.PathEvents, at)
	for _, n := range nodes {
		for _, p := range n.Processes {
			g.Go(func() error {
				var events []ctl.Event
				if err := ctl.Get(ctx, l.Socket(p.Name), path, &events); err != nil {
					return nil // it has ended, and its events with it
				}
				mu.Lock()
				defer mu.Unlock()
				all = append(all, events...)
				return nil
			})
		}
	}
	_ = g.Wait() // the functions return no error
	slices.SortStableFunc(all, func(a, b ctl.Event) int { return int(a.At - b.At) })
	return all, nil
}
