package exgw_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/ovnsim/exgw"
)

// nodes remembers what it was asked to flush.
type nodes struct {
	mu    sync.Mutex
	asked []string
	fail  int // as many times
}

func (n *nodes) Flush(_ context.Context, node string, pod netip.Addr, keep []string) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fail > 0 {
		n.fail--
		return 0, errors.New("busy")
	}
	n.asked = append(n.asked, fmt.Sprintf("%s %s keeps %v", node, pod, keep))
	return 1, nil
}

// count is how often it was asked for that.
func (n *nodes) count(want string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(n.asked), func(s string) bool { return s != want }))
}

// TestFlush: pods that lose a gateway are flushed, twice, the others are not; a failure is tried
// again; from time to time everybody is.
func TestFlush(t *testing.T) {
	b := newBench(t)
	fake := &nodes{}
	b.flusher, b.flushEvery = fake, time.Hour
	b.put("node.yaml", node)
	b.put("app-1.yaml", app("app-1", `"10.131.1.100/23"`, running))
	b.put("tmm-1.yaml", tmm{name: "tmm-1", ips: `"10.144.100.16"`}.String())
	b.put("tmm-2.yaml", tmm{name: "tmm-2", ips: `"10.144.100.17"`}.String())
	b.start()
	asked := func(want string, times int) {
		t.Helper()
		b.eventually(func() error {
			if n := fake.count(want); n < times {
				return fmt.Errorf("asked %d times for %q, want %d: %q", n, want, times, fake.asked)
			}
			return nil
		})
	}
	asked("worker-1 10.131.1.100 keeps [10.144.100.16 10.144.100.17]", 2) // gateways may have gone before
	b.put("app-2.yaml", app("app-2", `"10.131.1.101/23"`, running))
	b.put("tmm-3.yaml", tmm{name: "tmm-3", ips: `"10.144.100.18"`}.String())
	b.holds("GR_worker-1 10.131.1.100 by 10.144.100.16", "GR_worker-1 10.131.1.100 by 10.144.100.17", "GR_worker-1 10.131.1.100 by 10.144.100.18",
		"GR_worker-1 10.131.1.101 by 10.144.100.16", "GR_worker-1 10.131.1.101 by 10.144.100.17", "GR_worker-1 10.131.1.101 by 10.144.100.18")
	fake.mu.Lock()
	fake.fail = 3 // more often than a change is looked at
	fake.mu.Unlock()
	b.remove("tmm-1.yaml")
	for _, pod := range []string{"10.131.1.100", "10.131.1.101"} {
		asked("worker-1 "+pod+" keeps [10.144.100.17 10.144.100.18]", 1)
	}
	if n := fake.count("worker-1 10.131.1.101 keeps [10.144.100.16 10.144.100.17 10.144.100.18]"); n > 0 {
		t.Error("a new pod was flushed")
	}
	b.stop()
	b.flushEvery = 20 * time.Millisecond
	b.start()
	asked("worker-1 10.131.1.101 keeps [10.144.100.17 10.144.100.18]", 20)
	other := func(mac string) string { // the gateway's address has another MAC
		return mustReplace(t, tmm{name: "tmm-3", ips: `"10.144.100.18"`}.String(), `"ips"`, `"mac":"`+mac+`","ips"`)
	}
	b.stop()
	b.flushEvery = time.Hour
	b.put("tmm-3.yaml", other("02:00:00:00:00:18"))
	b.start()
	asked("worker-1 10.131.1.100 keeps [10.144.100.17 02:00:00:00:00:18]", 2)
	b.put("tmm-3.yaml", other("02:00:00:00:00:19"))
	asked("worker-1 10.131.1.100 keeps [10.144.100.17 02:00:00:00:00:19]", 2)
	b.remove("tmm-2.yaml")
	b.remove("tmm-3.yaml")
	asked("worker-1 10.131.1.100 keeps []", 2)
}

// TestSockets holds the order that a node's process gets.
func TestSockets(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	var got string
	s := ctl.Server{Extra: map[string]http.HandlerFunc{"POST /v1/conns/flush": func(w http.ResponseWriter, r *http.Request) {
		got = r.URL.RawQuery
		ctl.WriteJSON(w, map[string]int{"entries": 3})
	}}}
	socket := filepath.Join(dir, "ovn-node-worker-1.sock")
	go func() { done <- s.Serve(ctx, socket) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	for deadline := time.Now().Add(5 * time.Second); ctl.Get(ctx, socket, ctl.PathReady, nil) != nil && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	n, err := exgw.Sockets(dir).Flush(ctx, "worker-1", netip.MustParseAddr("fd01::1"), []string{"fd00::16", "02:00:00:00:00:17"})
	if n != 3 || err != nil {
		t.Errorf("%d entries, %v", n, err)
	}
	if diff := cmp.Diff("keep=fd00%3A%3A16&keep=02%3A00%3A00%3A00%3A00%3A17&pod=fd01%3A%3A1", got); diff != "" {
		t.Error(diff)
	}
}

// slowNodes holds one flush up.
type slowNodes struct {
	nodes
	hold    string        // the flush that is held up
	held    chan struct{} // closed when it is
	release chan struct{} // it goes on when this is closed
}

func (n *slowNodes) Flush(ctx context.Context, node string, pod netip.Addr, keep []string) (int, error) {
	if fmt.Sprintf("%s %s keeps %v", node, pod, keep) == n.hold {
		n.hold = "" // flushes come one after the other
		close(n.held)
		<-n.release
	}
	return n.nodes.Flush(ctx, node, pod, keep)
}

// TestFlushBeforeRows: while a flush is under way that does not know of a gateway, the gateway gets no
// rows: connections by it would be flushed away.
func TestFlushBeforeRows(t *testing.T) {
	b := newBench(t)
	fake := &slowNodes{hold: "worker-1 10.131.1.100 keeps []", held: make(chan struct{}), release: make(chan struct{})}
	release := sync.OnceFunc(func() { close(fake.release) })
	t.Cleanup(release)
	b.flusher, b.flushEvery = fake, time.Hour
	b.put("node.yaml", node)
	b.put("app-1.yaml", app("app-1", `"10.131.1.100/23"`, running))
	b.put("tmm-1.yaml", tmm{name: "tmm-1", ips: `"10.144.100.16"`}.String())
	b.start()
	b.holds("GR_worker-1 10.131.1.100 by 10.144.100.16")
	b.remove("tmm-1.yaml")
	<-fake.held
	none := b.count("Logical_Router_Static_Route")
	b.put("tmm-2.yaml", tmm{name: "tmm-2", ips: `"10.144.100.17"`}.String())
	b.put("mark.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: mark, annotations: {"+api.AnnotationExternalGateways+": nowhere}}\n")
	b.eventually(func() error { // the controller has read what was put before
		var st exgw.State
		if err := b.ask(&st); err != nil || !strings.Contains(fmt.Sprint(st.Warnings), "nowhere") {
			return fmt.Errorf("warnings %v, %w", st.Warnings, err)
		}
		return nil
	})
	for until := time.Now().Add(300 * time.Millisecond); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		if rows := b.count("Logical_Router_Static_Route"); rows > none {
			t.Fatalf("%d rows while a flush is under way that does not know of them", rows-none)
		}
	}
	release()
	b.holds("GR_worker-1 10.131.1.100 by 10.144.100.17")
}
