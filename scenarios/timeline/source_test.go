package timeline

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/scenarios/report"
)

func TestManifestEvent(t *testing.T) {
	for _, tc := range []struct {
		file string
		op   fsnotify.Op
		want report.Event
		ok   bool
	}{
		{"pod.apps.web-1.yaml", fsnotify.Create, report.Event{Source: "manifests", Kind: EventApplied, Object: "pod apps/web-1"}, true},
		{"node..worker-1.yaml", fsnotify.Remove, report.Event{Source: "manifests", Kind: EventDeleted, Object: "node worker-1"}, true},
		{"f5spkvlan.a.b.c.yaml", fsnotify.Create, report.Event{Source: "manifests", Kind: EventApplied, Object: "f5spkvlan a/b.c"}, true},
		{"pod.apps.web-1.yaml", fsnotify.Write, report.Event{}, false},
		{".tmp-pod.apps.web-1.yaml", fsnotify.Create, report.Event{}, false},
		{"notes.txt", fsnotify.Create, report.Event{}, false},
	} {
		t.Run(tc.file+" "+tc.op.String(), func(t *testing.T) {
			got, ok := manifestEvent(fsnotify.Event{Name: "/store/" + tc.file, Op: tc.op})
			if diff := cmp.Diff(tc.want, got); ok != tc.ok || diff != "" {
				t.Errorf("%v, (-want +got):\n%s", ok, diff)
			}
		})
	}
}

// TestKernelIsHeard changes links, routes and neighbours in a namespace that is there already and in
// one that comes later, and removes one, which must not stay because somebody listens in it.
func TestKernelIsHeard(t *testing.T) {
	prefix := fmt.Sprintf("tl-%d-", os.Getpid())
	netns := func(name string) {
		roottest.Run(t, "ip netns add "+prefix+name)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", prefix+name).Run() }) // the test may have done it
	}
	netns("a")
	var l log
	n, err := watchNamespaces(prefix, l.add)
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	await := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !slices.Contains(seen, want); time.Sleep(5 * time.Millisecond) {
			events, _ := l.take()
			for _, e := range events {
				if e.At == 0 {
					t.Errorf("%v has no time", e)
				}
				seen = append(seen, strings.TrimSpace(e.Source+" "+e.Kind+" "+e.Object+" "+e.Detail))
			}
			if time.Now().After(deadline) {
				t.Fatalf("%q is not among\n%s", want, strings.Join(seen, "\n"))
			}
		}
	}
	netns("b")
	listens(t, n, prefix+"b") // what is up by then is no change
	roottest.Run(t, "ip link add eth0 netns "+prefix+"a type veth peer name eth0 netns "+prefix+"b")
	roottest.Run(t, "ip -n "+prefix+"a link set eth0 up")
	roottest.Run(t, "ip -n "+prefix+"b link set eth0 up")
	await("a link eth0 up")
	await("b link eth0 up")
	roottest.Run(t, "ip -n "+prefix+"b addr add 10.9.0.1/24 dev eth0")
	await("b route-set 10.9.0.0/24 dev eth0")
	roottest.Run(t, "ip -n "+prefix+"b route add 10.8.0.0/16 nexthop via 10.9.0.2 nexthop via 10.9.0.3")
	await("b route-set 10.8.0.0/16 nexthop via 10.9.0.2 nexthop via 10.9.0.3")
	roottest.Run(t, "ip -n "+prefix+"b route del 10.8.0.0/16")
	await("b route-gone 10.8.0.0/16 nexthop via 10.9.0.2 nexthop via 10.9.0.3")
	roottest.Run(t, "ip -n "+prefix+"b neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev eth0")
	await("b neighbour 10.9.0.2 dev eth0 02:00:00:00:00:02")
	roottest.Run(t, "ip -n "+prefix+"b neigh del 10.9.0.2 dev eth0")
	await("b neighbour 10.9.0.2 dev eth0 gone")
	roottest.Run(t, "ip netns del "+prefix+"b")
	await("a link eth0 gone") // the other end goes only with the namespace
	if err := n.close(); err != nil {
		t.Error(err)
	}
	if i := slices.IndexFunc(seen, func(s string) bool { return strings.Contains(s, EventLost) }); i >= 0 {
		t.Error(seen[i])
	}
}

// TestNamespaceIsMountedLate: on a busy machine a namespace has its name long before it is there.
func TestNamespaceIsMountedLate(t *testing.T) {
	prefix := fmt.Sprintf("tl-late-%d-", os.Getpid())
	n, err := watchNamespaces(prefix, func(report.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.close(); err != nil {
			t.Error(err)
		}
	})
	other, late := "of-"+prefix, filepath.Join(netnsDir, prefix+"a")
	roottest.Netns(t, other)
	if err := os.WriteFile(late, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { roottest.Run(t, "ip netns del "+prefix+"a") })
	roottest.Run(t, "sleep 0.5") // the time that whoever makes it is stopped for
	roottest.Run(t, "mount --bind "+filepath.Join(netnsDir, other)+" "+late)
	listens(t, n, prefix+"a")
}

// listens waits until the namespace's kernel is listened to.
func listens(t *testing.T, n *namespaces, name string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		n.mu.Lock()
		there := n.kernels[name] != nil
		n.mu.Unlock()
		if there {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody listens in %s", name)
		}
	}
}

func TestLogKeepsTheNewest(t *testing.T) {
	var l log
	for i := range 3*maxEvents + 1 {
		l.add(report.Event{Kind: fmt.Sprint(i)})
	}
	events, lost := l.take()
	if len(events)+lost != 3*maxEvents+1 || len(events) < maxEvents || events[len(events)-1].Kind != fmt.Sprint(3*maxEvents) {
		t.Errorf("%d events kept, %d lost", len(events), lost)
	}
}
