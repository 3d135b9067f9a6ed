package state

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/ctl"
)

// TestCollect has collectors that hang, fail, panic and ask a process that accepts and never answers:
// the others deliver, and each of the rest is named.
func TestCollect(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // it accepts by itself, and nobody reads
	release := make(chan struct{})
	defer close(release)
	tasks := []task{
		{node: "good", delivers: []string{Routes, Links}, run: func(context.Context) (delivery, error) {
			return delivery{values: map[string]Objects{Routes: {"a": "b"}, Links: {"c": "d"}}}, nil
		}},
		{node: "half", delivers: []string{Routes, Links}, run: func(context.Context) (delivery, error) {
			return delivery{values: map[string]Objects{Routes: {"a": "b"}}}, errors.New("links cannot be had")
		}},
		{node: "deaf", delivers: []string{Proxy}, run: func(context.Context) (delivery, error) {
			<-release
			return delivery{}, nil
		}},
		{node: "mute", delivers: []string{RIB}, run: func(ctx context.Context) (delivery, error) {
			var doc any
			return delivery{}, ctl.Get(ctx, socket, ctl.PathState, &doc)
		}},
		{node: "mad", delivers: []string{Maps}, run: func(context.Context) (delivery, error) { panic("no such map") }},
	}
	const patience = 200 * time.Millisecond
	s := newSnapshot("lab")
	s.collect(t.Context(), patience, tasks)
	if s.Took > 20*patience {
		t.Errorf("it took %s, with a limit of %s", s.Took, patience)
	}
	want := map[string]map[string]Objects{Routes: {"good": {"a": "b"}, "half": {"a": "b"}}, Links: {"good": {"c": "d"}}}
	if diff := cmp.Diff(want, s.Values); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
	// Who is mute says so itself, or, on a machine that is too busy for that, is said to be overdue.
	reasons := map[string]string{"links half": "links cannot be had", "proxy deaf": "no answer within 200ms", "rib mute": "", "bpf maps mad": "it panicked: no such map"}
	if len(s.Gaps) != len(reasons) {
		t.Errorf("%d gaps, want %d: %+v", len(s.Gaps), len(reasons), s.Gaps)
	}
	for _, g := range s.Gaps {
		if why, ok := reasons[g.Collector+" "+g.Node]; !ok || !strings.Contains(g.Why, why) || g.Why == "" {
			t.Errorf("gap %+v, want %q", g, why)
		}
	}
}

func TestSaveAndLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.json.gz")
	want := snapshot(Routes, "n", Objects{"a": "b"}).lacking(Gap{Collector: Links, Node: "n", Why: "gone"})
	if err := want.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	want.Version = 99
	if err := want.Save(path); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "version 99") {
		t.Errorf("another version: %v", err)
	}
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "state save") {
		t.Errorf("no such file at all: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".tmp-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestLogsSince(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name+".log"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("quiet", "said before\n")
	write("talks", "said before\n")
	write("anew", strings.Repeat("x", 100))
	marks := logMarks(dir)
	write("talks", "said before\nsaid meanwhile\n")
	write("anew", "first line\n")
	write("new", "only line\n")
	write("much", strings.Repeat("a line of text\n", 4000)+"the end\n")
	got := logsSince(dir, marks)
	much := got["much"]
	delete(got, "much")
	if diff := cmp.Diff(map[string]string{"talks": "said meanwhile", "anew": "first line", "new": "only line"}, got); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
	if len(much) > logTail || !strings.HasPrefix(much, "a line of text\n") || !strings.HasSuffix(much, "\nthe end") {
		t.Errorf("%d octets of a long log, want whole lines of its end, at most %d", len(much), logTail)
	}
}
