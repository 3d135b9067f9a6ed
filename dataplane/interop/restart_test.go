package interop

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
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
	for i, w := range n.ways() {
		c, s := w.udp(t, fmt.Sprint(7400+i))
		must(t, c.SetDeadline(time.Time{})) // as long as the restarts take
		g.Go(func() error { return sendNumbered(restarted, c) })
		g.Go(func() error { return receiveNumbered(w.name, s) })
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
	lastNumbered    = ^uint32(0)
)

// sendNumbered sends numbered datagrams until ctx ends, and then one that says so.
func sendNumbered(ctx context.Context, c net.Conn) error {
	tick := time.NewTicker(betweenNumbered)
	defer tick.Stop()
	for i := uint32(0); ctx.Err() == nil; i++ {
		<-tick.C
		if _, err := c.Write(binary.BigEndian.AppendUint32(nil, i)); err != nil {
			return err
		}
	}
	_, err := c.Write(binary.BigEndian.AppendUint32(nil, lastNumbered))
	return err
}

// receiveNumbered expects every datagram, in order.
func receiveNumbered(name string, s net.Conn) error {
	buf := make([]byte, 4)
	for want := uint32(0); ; want++ {
		if err := s.SetReadDeadline(deadline()); err != nil {
			return err
		}
		if _, err := io.ReadFull(s, buf); err != nil {
			return fmt.Errorf("%s: datagram %d: %w", name, want, err)
		}
		switch got := binary.BigEndian.Uint32(buf); got {
		case want:
		case lastNumbered:
			return nil
		default:
			return fmt.Errorf("%s: datagram %d came when %d was due", name, got, want)
		}
	}
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
