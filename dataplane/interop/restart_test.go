package interop

import (
	"bytes"
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
	"github.com/spklab/spklab/dataplane/internal/nstest"
)

// TestRestart has the proxy's process end and start again and again in the middle of downloads,
// uploads and streams of datagrams: they complete, and not one datagram is missing.
func TestRestart(t *testing.T) {
	nstest.Programs(t, "nginx", "curl", "ss")
	t.Parallel()
	n := wire(t)
	n.configure("")
	n.config.PinDir = filepath.Join(nstest.BPFFS(t), "tmm")
	n.config.Log = ctl.NewLog("interop")
	n.open(t)
	t.Cleanup(func() { must(t, n.proxy.Remove()) })
	n.apply(t, n.state())
	stop := n.run(t)
	w := n.webs(t)

	var g errgroup.Group
	for _, f := range families() {
		for _, s := range snats() {
			g.Go(func() error { return n.slowly(w, url(f.web(s), "/large")) })
			g.Go(func() error {
				return n.slowly(w, "-T", filepath.Join(w.dirs[0], "large"), url(f.web(s), fmt.Sprintf("/in/%s-%s", f.name, s)))
			})
		}
	}
	for i, w := range n.ways() {
		c, s := w.udp(t, fmt.Sprint(7400+i))
		g.Go(func() error { return sendNumbered(c) })
		g.Go(func() error { return receiveNumbered(w.name, s) })
	}
	transfers := make(chan error, 1)
	go func() { transfers <- g.Wait() }()
	restarts := 0
	for over := false; !over; {
		select {
		case err := <-transfers:
			must(t, err)
			over = true
		default:
			stop()
			must(t, n.proxy.Close())
			n.open(t)
			n.apply(t, n.state())
			stop = n.run(t)
			restarts++
		}
	}
	t.Logf("%d restarts", restarts)
	if restarts < 3 {
		t.Errorf("the transfers were over after %d restarts", restarts)
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

// numbered datagrams are sent for two seconds.
const numbered, betweenNumbered = 1000, 2 * time.Millisecond

func sendNumbered(c *net.UDPConn) error {
	tick := time.NewTicker(betweenNumbered)
	defer tick.Stop()
	for i := range uint32(numbered) {
		<-tick.C
		if _, err := c.Write(binary.BigEndian.AppendUint32(nil, i)); err != nil {
			return err
		}
	}
	return nil
}

// receiveNumbered expects every datagram, in order.
func receiveNumbered(name string, s *net.UDPConn) error {
	buf := make([]byte, 4)
	for want := range uint32(numbered) {
		if _, err := io.ReadFull(s, buf); err != nil {
			return fmt.Errorf("%s: datagram %d: %w", name, want, err)
		}
		if got := binary.BigEndian.Uint32(buf); got != want {
			return fmt.Errorf("%s: datagram %d came when %d was due", name, got, want)
		}
	}
	return nil
}

// slowly has curl make one transfer that takes two seconds and more.
func (n *network) slowly(w *webs, args ...string) error {
	cmd := exec.Command("curl", append([]string{"-sSf", "-m", "20", "--limit-rate", fmt.Sprint(largeFile / 2)}, args...)...)
	out, err := n.client.combined(cmd)
	if err == nil && len(args) == 1 && out != string(w.large) {
		err = errors.New("not what was sent")
	}
	if err != nil {
		return fmt.Errorf("%v: %w: %.200q", args, err, out)
	}
	return nil
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
