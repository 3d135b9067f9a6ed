package topo_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
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

// TestJournalIsFollowed: who has a lab open sees what others make, take back and leave half-written, and
// that a lab of the same name is another one.
func TestJournalIsFollowed(t *testing.T) {
	host := topo.Host{Run: t.TempDir()}
	maker, reader := host.Open("tfollow"), host.Open("tfollow")
	lock(t, maker)
	file := func(name string) topo.Step { return topo.Step{File: &topo.FileStep{Path: name, Content: name}} }
	journal := filepath.Join(maker.Dir(), "journal")
	converge := func(steps ...topo.Step) {
		t.Helper()
		if err := maker.Converge(t.Context(), topo.NewPlan(steps), nil); err != nil {
			t.Fatal(err)
		}
	}
	sees := func(when string, want ...string) {
		t.Helper()
		for who, r := range map[string]*topo.Runtime{"the maker": maker, "a reader": reader, "a new reader": host.Open("tfollow")} {
			steps, err := r.Applied()
			if err != nil {
				t.Fatalf("%s: %s: %v", when, who, err)
			}
			var got []string
			for _, s := range steps {
				got = append(got, s.File.Path)
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s: %s sees %q, want %q", when, who, got, want)
			}
		}
	}
	sees("before all")
	converge(file("a"), file("b"))
	sees("made", "a", "b")
	converge(file("b"), file("c"))
	sees("changed", "b", "c")
	whole, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	for _, torn := range []string{`{"do":{"fi`, `{"undo":"x"}`} { // of a process that was killed
		if err := os.WriteFile(journal, append(slices.Clone(whole), torn...), 0o600); err != nil {
			t.Fatal(err)
		}
		sees("torn at "+torn, "b", "c")
	}
	converge(file("b"), file("c"), file("d"))
	sees("after the torn line", "b", "c", "d")
	if err := maker.Down(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	lock(t, maker)
	converge(file("e"), file("f"), file("g"), file("h"), file("i")) // more than there was
	sees("made again", "e", "f", "g", "h", "i")
	if err := maker.Down(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	sees("removed")
}
