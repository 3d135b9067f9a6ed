package exgw

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/ovnsim/forward"
)

// Flusher forgets connections in the conntrack of nodes.
type Flusher interface {
	// Flush deletes, in the conntrack of a node, the entries of a pod's address that are labelled with
	// the MAC of a gateway, but for those whose MAC is that of a gateway in keep: each is a MAC, or an
	// address that the node resolves. It returns how many.
	Flush(ctx context.Context, node string, pod netip.Addr, keep []string) (int, error)
}

// Sockets is the directory of the nodes' control sockets, ovn-node-NODE.sock; nodes are asked there, as
// forward.PathFlush has it.
type Sockets string

// Flush asks the node's process.
func (s Sockets) Flush(ctx context.Context, node string, pod netip.Addr, keep []string) (int, error) {
	return forward.Flush(ctx, filepath.Join(string(s), "ovn-node-"+node+".sock"), pod, keep)
}

// DefaultFlushEvery is how often OVN-Kubernetes flushes, whether anything changed or not: a gateway
// may have a new MAC.
const DefaultFlushEvery = time.Minute

const (
	// flushTimeout bounds one flush of one node.
	flushTimeout = 10 * time.Second
	// secondLook is when what has changed is flushed once more: a packet that passes before a node's
	// datapath has heard of the rows brings back what the first flush deleted.
	secondLook = time.Second
)

// kept are the gateways of pods by node.
type kept map[string]map[netip.Addr][]string

// keptBy reads them from what is wanted: by MAC where that is known.
func keptBy(want Desired) kept {
	out := kept{}
	for _, r := range want.Rows.Routers {
		node, ok := strings.CutPrefix(r.Name, "GR_")
		if !ok {
			continue
		}
		out[node] = map[netip.Addr][]string{}
		for _, x := range r.Routes {
			if x.Symmetric {
				gateway := cmp.Or(want.MACs[x.Nexthop], x.Nexthop.String())
				out[node][x.Prefix.Addr()] = append(out[node][x.Prefix.Addr()], gateway)
			}
		}
	}
	return out
}

// since is what has to be flushed when pods keep what k says and had what old says: those that lost a
// gateway, or whose gateway has another MAC. A pod that is new has no connections.
func (k kept) since(old kept) kept {
	out := kept{}
	for node, pods := range k {
		for pod, had := range old[node] {
			keeps := pods[pod]
			if slices.ContainsFunc(had, func(g string) bool { return !slices.Contains(keeps, g) }) {
				if out[node] == nil {
					out[node] = map[netip.Addr][]string{}
				}
				out[node][pod] = slices.Clone(keeps)
			}
		}
	}
	return out
}

// flushing calls a Flusher when pods have lost gateways, and from time to time for all pods that have
// some. What could not be flushed is tried again a
// second later.
type flushing struct {
	flusher Flusher
	every   time.Duration
	log     *ctl.Log

	busy sync.Mutex // held while nodes are flushed

	mu      sync.Mutex
	now     kept              // as written last
	coming  kept              // what is being written; nil: nothing
	pending kept              // to be flushed
	looked  kept              // to be flushed once more
	failed  map[string]string // by node, of run alone
	poke    chan struct{}
}

func newFlushing(f Flusher, every time.Duration, log *ctl.Log) *flushing {
	if every == 0 {
		every = DefaultFlushEvery
	}
	return &flushing{flusher: f, every: every, log: log, pending: kept{}, failed: map[string]string{}, poke: make(chan struct{}, 1)}
}

// write says what is about to be written. From then on no gateway that comes is flushed away: it returns
// when every flush has ended that began without knowing of it.
func (f *flushing) write(want Desired) {
	f.mu.Lock()
	f.coming = keptBy(want)
	more := len(f.now.since(f.coming)) > 0 // somebody gets what he had not
	f.mu.Unlock()
	if more {
		f.busy.Lock()
		defer f.busy.Unlock() // to have waited is all
	}
}

// written says what stands now. The first time everybody is flushed: gateways may have gone
// while no controller ran.
func (f *flushing) written(want Desired) {
	f.mu.Lock()
	now := keptBy(want)
	if f.now == nil {
		f.pending = f.merge(f.pending, now)
	} else {
		f.pending = f.merge(f.pending, now.since(f.now))
	}
	f.now, f.coming = now, nil
	some := len(f.pending) > 0
	f.mu.Unlock()
	if !some {
		return
	}
	select {
	case f.poke <- struct{}{}:
	default:
	}
}

// merge is into with the pods of k.
func (*flushing) merge(into, k kept) kept {
	if into == nil {
		into = kept{}
	}
	for node, pods := range k {
		if len(pods) > 0 && into[node] == nil {
			into[node] = map[netip.Addr][]string{}
		}
		maps.Copy(into[node], pods)
	}
	return into
}

// run flushes until ctx ends.
func (f *flushing) run(ctx context.Context) {
	tick := time.NewTicker(f.every)
	defer tick.Stop()
	var look <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.poke:
			f.mu.Lock()
			f.looked = f.merge(f.looked, f.pending)
			f.mu.Unlock()
			look = time.After(secondLook)
		case <-look:
			f.mu.Lock()
			f.pending, f.looked = f.merge(f.pending, f.looked), nil
			f.mu.Unlock()
		case <-tick.C:
			f.mu.Lock()
			f.pending = f.merge(f.pending, f.now)
			f.mu.Unlock()
		}
		if !f.flush(ctx) {
			look = time.After(secondLook)
		}
	}
}

// flush works the list off and reports whether nothing is left. What pods keep is what they keep by
// now, and what is being written.
func (f *flushing) flush(ctx context.Context) bool {
	f.busy.Lock()
	defer f.busy.Unlock()
	f.mu.Lock()
	list := kept{}
	for node, pods := range f.pending {
		list[node] = map[netip.Addr][]string{}
		for pod := range pods {
			list[node][pod] = union(f.now[node][pod], f.coming[node][pod])
		}
	}
	f.pending = kept{}
	f.mu.Unlock()
	for _, node := range slices.Sorted(maps.Keys(list)) {
		n, err := f.node(ctx, node, list[node])
		if n > 0 {
			f.log.Add(EventFlushed, node, fmt.Sprintf("%d entries", n))
		}
		f.complain(node, err)
		if err != nil {
			f.mu.Lock()
			f.pending = f.merge(f.pending, kept{node: list[node]})
			f.mu.Unlock()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.pending) == 0
}

// union is a with what b has besides.
func union(a, b []string) []string {
	return append(slices.Clone(a), slices.DeleteFunc(slices.Clone(b), func(g string) bool { return slices.Contains(a, g) })...)
}

// complain tells of a node's failure once. A node whose process does not run has no connections to
// forget.
func (f *flushing) complain(node string, err error) {
	text := ""
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
		text = fmt.Sprintf("flush conntrack: %v", err)
	}
	if text != "" && text != f.failed[node] {
		f.log.Add(EventError, node, text)
	}
	f.failed[node] = text
}

// node flushes one node; the first pod that fails ends it.
func (f *flushing) node(ctx context.Context, node string, pods map[netip.Addr][]string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	sum := 0
	for _, pod := range slices.SortedFunc(maps.Keys(pods), netip.Addr.Compare) {
		n, err := f.flusher.Flush(ctx, node, pod, pods[pod])
		sum += n
		if err != nil {
			return sum, fmt.Errorf("pod %s: %w", pod, err)
		}
	}
	return sum, nil
}
