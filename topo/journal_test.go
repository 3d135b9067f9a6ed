package topo_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/spklab/spklab/topo"
)

// TestJournalHidesFiles: what is in a file stays out of the journal, which knows the file all the same.
func TestJournalHidesFiles(t *testing.T) {
	r := topo.Host{Run: t.TempDir()}.Open("tfile")
	lock(t, r)
	converge := func(content string) (done int) {
		t.Helper()
		plan := topo.NewPlan([]topo.Step{{File: &topo.FileStep{Path: "conf/x.json", Content: content}}})
		if err := r.Converge(t.Context(), plan, func(topo.Progress) { done++ }); err != nil {
			t.Fatal(err)
		}
		return done
	}
	const secret = "hunter2"
	for _, tc := range []struct {
		content string
		steps   int
	}{{"password: " + secret, 1}, {"password: " + secret, 0}, {"password: no " + secret, 2}} {
		if n := converge(tc.content); n != tc.steps {
			t.Errorf("%q took %d steps, want %d", tc.content, n, tc.steps)
		}
		if have, err := os.ReadFile(filepath.Join(r.Dir(), "conf/x.json")); err != nil || string(have) != tc.content {
			t.Errorf("the file holds %q, %v; want %q", have, err, tc.content)
		}
	}
	journal, err := os.ReadFile(filepath.Join(r.Dir(), "journal"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(journal, []byte(secret)) || !bytes.Contains(journal, []byte("conf/x.json")) {
		t.Errorf("want the file without its content: %s", journal)
	}
	if err := r.Down(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}
