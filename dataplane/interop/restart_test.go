package interop

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/internal/nstest"
)

// TestRestart has the proxy's process end and start again in the middle of downloads, uploads
// and streams of datagrams: they complete, and not one datagram is missing.
func TestRestart(t *testing.T) {
	nstest.Programs(t, "nginx", "curl", "ss")
	t.Parallel()
	for _, frontend := range []dataplane.Frontend{dataplane.FrontendTCX, dataplane.FrontendXDP} {
		t.Run(string(frontend), func(t *testing.T) { testRestart(t, unopened(t, frontend)) })
	}
}

func testRestart(t *testing.T, n *network) {
	n.config.PinDir = filepath.Join(nstest.BPFFS(t), "tmm")
	n.config.Log = ctl.NewLog("interop")
	n.open(t)
	t.Cleanup(func() { must(t, n.proxy.Remove()) })
	n.apply(t, n.state())
	stop := n.run(t)
	w := n.webs(t)

	restarted, over := context.WithCancel(t.Context())
	defer over()
	var g errgroup.Group
	for _, f := range families() {
		for _, s := range n.snats {
			g.Go(func() error { return n.slowly(restarted, w, url(f.web(s), "/large")) })
			g.Go(func() error {
				return n.slowly(restarted, w, "-T", filepath.Join(w.dirs[0], "large"), url(f.web(s), fmt.Sprintf("/in/%s-%s", f.name, s)))
			})
		}
	}
	var lost atomic.Int64 // datagrams
	for i, w := range n.ways() {
		c, s := w.udp(t, fmt.Sprint(7400+i))
		must(t, c.SetDeadline(time.Time{})) // as long as the restarts take
		g.Go(func() error { return sendNumbered(restarted, c) })
		g.Go(func() error {
			missing, err := receiveNumbered(w.name, s)
			lost.Add(int64(missing))
			return err
		})
	}
	for range 2 {
		stop()
		must(t, n.proxy.Close())
		n.open(t)
		n.apply(t, n.state())
		stop = n.run(t)
	}
	over()
	must(t, g.Wait())
	if full := int64(n.overflow(t)); lost.Load() > full {
		t.Errorf("%d datagrams were lost, %d packets at queues that were full", lost.Load(), full)
	}
	for _, e := range n.config.Log.Events() {
		if e.Kind == "pins-replaced" {
			t.Errorf("%+v", e)
		}
	}
	for _, dir := range w.dirs {
		w.compareUploads(t, dir)
	}
}

const (
	betweenNumbered = 2 * time.Millisecond
	// lastNumbered is how often the last one is sent: one of them arrives.
	lastNumbered = 100
)

// numbered is one of a row of datagrams: its number from 0, or, as the last one, how many came before.
type numbered struct{ Number, Last uint32 }

// sendNumbered sends numbered datagrams until ctx ends, and then says how many they were.
func sendNumbered(ctx context.Context, c net.Conn) error {
	tick := time.NewTicker(betweenNumbered)
	defer tick.Stop()
	last := 0
	for d := (numbered{}); last < lastNumbered; {
		<-tick.C
		if ctx.Err() != nil {
			d.Last = 1
			last++
		}
		if err := binary.Write(c, binary.BigEndian, d); err != nil {
			return err
		}
		if d.Last == 0 {
			d.Number++
		}
	}
	return nil
}

// receiveNumbered expects every datagram once and returns how many are missing. One may overtake another: a
// veth pair queues what XDP redirects to it by the CPU that did it (veth_select_rxq, Linux 6.18), and the
// sender may change its CPU.
func receiveNumbered(name string, s net.Conn) (missing int, err error) {
	seen := map[uint32]bool{}
	all := -1
	for all < 0 || len(seen) < all {
		if err := s.SetReadDeadline(deadline()); err != nil {
			return 0, err
		}
		var got numbered
		err := binary.Read(s, binary.BigEndian, &got)
		switch {
		case err != nil && all < 0:
			return 0, fmt.Errorf("%s: the end of %d datagrams: %w", name, len(seen), err)
		case err != nil:
			return all - len(seen), nil
		case got.Last != 0:
			all = int(got.Number)
		case seen[got.Number]:
			return 0, fmt.Errorf("%s: datagram %d came twice", name, got.Number)
		default:
			seen[got.Number] = true
		}
	}
	return 0, nil
}

// overflow is how many packets the kernel has dropped on the way to the TMM, because the queue of a veth
// pair was full: where the CPUs are busy with others, nobody empties it in time.
func (n *network) overflow(t *testing.T) int {
	t.Helper()
	sum := 0
	for _, h := range []*host{n.router, n.node} {
		var links []struct {
			Stats struct {
				TX struct {
					Dropped int `json:"dropped"`
				} `json:"tx"`
			} `json:"stats64"`
		}
		must(t, json.Unmarshal([]byte(h.output(t, "ip", "-j", "-s", "link", "show", "dev", "tmms")), &links))
		for _, l := range links {
			sum += l.Stats.TX.Dropped
		}
	}
	return sum
}

// slowly has curl make transfers that take two seconds and more, one after the other until ctx
// has ended.
func (n *network) slowly(ctx context.Context, w *webs, args ...string) error {
	for {
		cmd := exec.Command("curl", append([]string{"-sSf", "-m", "60", "--limit-rate", fmt.Sprint(largeFile / 2)}, args...)...)
		out, err := n.client.combined(cmd)
		if err == nil && len(args) == 1 && out != string(w.large) {
			err = errors.New("not what was sent")
		}
		if err != nil {
			return fmt.Errorf("%v: %w: %.200q", args, err, out)
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// compareUploads looks at every file that arrived.
func (w *webs) compareUploads(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "in", "*"))
	must(t, err)
	for _, path := range files {
		got, err := os.ReadFile(path)
		must(t, err)
		if !bytes.Equal(got, w.large) {
			t.Errorf("%s: %d bytes arrived, not the %d that were sent", filepath.Base(path), len(got), len(w.large))
		}
	}
}
