package ovsdb

import (
	"encoding/json"
	"errors"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// populate puts the same rows into both servers of a comparison.
func populate(t *testing.T, socks ...string) {
	t.Helper()
	for _, sock := range socks {
		for _, line := range []string{
			"init", "lr-add lr0", "set Logical_Router lr0 options:chassis=x enabled=true", "ls-add sw0", "lsp-add sw0 p0",
			"pg-add pg0 p0", "--ecmp-symmetric-reply --policy=src-ip lr-route-add lr0 10.1.0.1 10.2.0.1",
			"acl-add sw0 to-lport 1000 ip4 drop", "meter-add m0 drop 10 kbps",
		} {
			if o := command(t, sock, "ovn-nbctl", append([]string{"--timeout=10", "--no-leader-only"}, words(line)...)...); o.Code != 0 {
				t.Fatalf("%s: %+v", line, o)
			}
		}
	}
}

// clientArgs are the arguments of an ovsdb-client command line.
func clientArgs(line, sock string) []string {
	args := words(line)
	if i := slices.Index(args, "SERVER"); i >= 0 {
		args[i] = "unix:" + sock
	}
	return append([]string{"--timeout=10"}, args...)
}

var (
	// Dates and UUIDs change the hash of a backup's record, not its length.
	dates   = regexp.MustCompile(`"_date":\d+`)
	headers = regexp.MustCompile(`(?m)^OVSDB JSON (\d+) [0-9a-f]{40}$`)
	// In HTML a reference is shown by its first digits.
	shortUUID = regexp.MustCompile(`#UUID">[0-9a-f]{8}<`)
)

// normaliseClient masks what differs from run to run beyond normalise, and puts the members of
// JSON objects in order.
func normaliseClient(s string) string {
	s = dates.ReplaceAllString(headers.ReplaceAllString(s, "OVSDB JSON $1 HASH"), `"_date":0`)
	s = shortUUID.ReplaceAllString(s, `#UUID">SHORT<`)
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		var v any
		if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &v) != nil {
			continue
		}
		if text, err := json.Marshal(v); err == nil {
			lines[i] = string(text)
		}
	}
	return strings.Join(lines, "\n")
}

// TestClientSideBySide runs ovsdb-client's commands on both servers.
func TestClientSideBySide(t *testing.T) {
	needPrograms(t, "ovsdb-client", "ovn-nbctl", "ovsdb-server", "ovsdb-tool")
	ours, theirs := startServer(t), startReference(t)
	populate(t, ours, theirs)
	compareLines(t, "client.txt", func(line string) (want, got outcome) {
		run := func(sock string) outcome {
			o := command(t, sock, "ovsdb-client", clientArgs(line, sock)...)
			o.Stdout = normaliseClient(o.Stdout)
			return o
		}
		return run(theirs), run(ours)
	})
}

// watching is an ovsdb-client that monitors a server.
type watching struct{ out, log lockedText }

// lockedText collects what a program prints; it may be read meanwhile.
type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String is everything so far.
func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func watchWith(t *testing.T, line, sock string) *watching {
	t.Helper()
	w := &watching{}
	args := clientArgs(line, sock)
	args[0] = "--timeout=60"
	cmd := exec.Command("ovsdb-client", append([]string{"-vconsole:off", "-vjsonrpc:console:dbg"}, args...)...)
	cmd.Stdout, cmd.Stderr = &w.out, &w.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return w
}

var monitorRequest = regexp.MustCompile(`send request, method="monitor[a-z_]*", .*, (id=\d+)\n`)

// ready says whether the server has answered the monitor request.
func (w *watching) ready() error {
	log := w.log.String()
	if m := monitorRequest.FindStringSubmatchIndex(log); m != nil {
		id, rest := log[m[2]:m[3]], log[m[1]:]
		for line := range strings.Lines(rest) {
			if strings.Contains(line, "received reply") && strings.HasSuffix(line, id+"\n") {
				return nil
			}
		}
	}
	return errors.New("the monitor has no answer: " + log[max(0, len(log)-500):])
}

// updates is what a monitor printed, one string an update, rows within an update sorted.
func (w *watching) updates() []string {
	text := shortUUID.ReplaceAllString(uuidText.ReplaceAllString(w.out.String(), "UUID"), `#UUID">SHORT<`)
	blocks := strings.Split(text, "\n\n")
	for i, b := range blocks {
		rows := strings.Split(strings.TrimSuffix(b, "\n"), "\n")
		slices.Sort(rows)
		blocks[i] = strings.Join(rows, "\n")
	}
	return blocks
}

// watchChanges starts all monitors on one server and then makes the changes.
func watchChanges(t *testing.T, sock string, lines []string) []*watching {
	t.Helper()
	var all []*watching
	for _, line := range lines {
		all = append(all, watchWith(t, line, sock))
	}
	for _, w := range all {
		waitFor(t, w.ready)
	}
	for _, change := range script(t, "changes.txt") {
		if o := command(t, sock, "ovsdb-client", "transact", "unix:"+sock, `["OVN_Northbound",`+change+`]`); o.Code != 0 {
			t.Fatalf("%s: %+v", change, o)
		}
	}
	return all
}

// TestMonitorSideBySide has many ovsdb-client monitors watch the same changes on both servers.
func TestMonitorSideBySide(t *testing.T) {
	needPrograms(t, "ovsdb-client", "ovn-nbctl", "ovsdb-server", "ovsdb-tool")
	lines := script(t, "monitor.txt")
	ours, theirs := startServer(t), startReference(t)
	populate(t, ours, theirs)
	want := watchChanges(t, theirs, lines)
	got := watchChanges(t, ours, lines)
	equal := 0
	for i, line := range lines {
		t.Run(line, func(t *testing.T) {
			waitFor(t, func() error {
				if text := want[i].out.String(); !strings.Contains(text, "sentinel") {
					return errors.New("ovsdb-server's monitor has not seen the last change:\n" + text)
				}
				return nil
			})
			waitForEqual(t, want[i], got[i])
			equal++
		})
	}
	t.Logf("monitor.txt: %d equal of %d", equal, len(lines))
}

func waitForEqual(t *testing.T, want, got *watching) {
	t.Helper()
	waitFor(t, func() error {
		if diff := cmp.Diff(want.updates(), got.updates()); diff != "" {
			return errors.New("-ovsdb-server +ours:\n" + diff)
		}
		return nil
	})
}
