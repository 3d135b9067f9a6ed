package drops

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/roottest"
)

// TestWatchNamesReasons has the kernel drop packets for two reasons, in a namespace that is watched
// from the start, one that comes later, and one that is none of the watch's.
func TestWatchNamesReasons(t *testing.T) {
	prefix := fmt.Sprintf("drops-%d-", os.Getpid())
	ns := func(name string) string {
		roottest.Netns(t, name)
		roottest.Run(t, "ip -n "+name+" link set lo up")
		return name
	}
	first, other := ns(prefix+"first"), ns("other-"+prefix)
	w, err := Open(prefix)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	from := ctl.Now()
	later := ns(prefix + "later")
	// A datagram to a port that nobody listens on; one with a TTL that ends is no way to be had in one namespace.
	for _, want := range []struct{ netns, to, reason string }{{first, "127.0.0.1/9", "NO_SOCKET"}, {later, "127.0.0.1/9", "NO_SOCKET"}} {
		deadline := time.Now().Add(10 * time.Second)
		for found := false; !found; {
			send(want.netns, want.to)
			send(other, want.to)
			for _, d := range w.Since(from) {
				if d.Netns != first && d.Netns != later {
					t.Fatalf("a drop of %q", d.Netns)
				}
				found = found || d.Netns == want.netns && d.Reason == want.reason && d.Frame[14]>>4 == 4 && d.Frame[14+9] == 17
			}
			if time.Now().After(deadline) {
				t.Fatalf("no drop in %s for %s: %+v", want.netns, want.reason, w.Since(from))
			}
		}
	}
	if n := len(w.Since(ctl.Now())); n > 0 {
		t.Errorf("%d drops of the future", n)
	}
}

// TestWatchLeavesWhatIsGone has a namespace lose its name and live on under another one, which is none of the
// watch's, as one does that gets the inode of a namespace that is gone.
func TestWatchLeavesWhatIsGone(t *testing.T) {
	prefix := fmt.Sprintf("gone-%d-", os.Getpid())
	stays, goes, other := prefix+"stays", prefix+"goes", "other-"+prefix
	for _, name := range []string{stays, goes} {
		roottest.Run(t, "ip netns add "+name)
		roottest.Run(t, "ip -n "+name+" link set lo up")
	}
	t.Cleanup(func() { roottest.Run(t, "ip netns del "+stays) })
	roottest.Run(t, fmt.Sprintf("touch /run/netns/%s", other))
	roottest.Run(t, fmt.Sprintf("mount --bind /run/netns/%s /run/netns/%s", goes, other))
	t.Cleanup(func() { roottest.Run(t, "ip netns del "+other) })
	w, err := Open(prefix)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	// told are the namespaces of a drop in other, which comes first, and of one in stays.
	told := func() map[string]bool {
		from := ctl.Now()
		send(other, "127.0.0.1/9")
		for deadline := time.Now().Add(10 * time.Second); ; {
			send(stays, "127.0.0.1/9")
			seen := map[string]bool{}
			for _, d := range w.Since(from) {
				seen[d.Netns] = true
			}
			if seen[stays] {
				return seen
			}
			if time.Now().After(deadline) {
				t.Fatalf("no drop in %s", stays)
			}
		}
	}
	if !told()[goes] {
		t.Error("a namespace is not watched while it has its name")
	}
	roottest.Run(t, "ip netns del "+goes)
	for deadline := time.Now().Add(10 * time.Second); told()[goes]; {
		if time.Now().After(deadline) {
			t.Fatal("the namespace is watched although its name is gone")
		}
	}
}

// send sends a datagram in a namespace to a port that nobody listens on.
func send(netns, to string) {
	_ = exec.Command("ip", "netns", "exec", netns, "bash", "-c", "echo x >/dev/udp/"+to).Run() // the answer is no success
}
