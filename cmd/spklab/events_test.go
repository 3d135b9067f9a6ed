package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/spklab/spklab/ctl"
)

// told is a lab that tells events; each asking hears more.
type told struct{ answers [][]ctl.Event }

func (l *told) EventsSince(context.Context, int64) ([]ctl.Event, error) {
	if len(l.answers) == 0 {
		return nil, nil
	}
	next := l.answers[0]
	l.answers = l.answers[1:]
	return append([]ctl.Event{}, next...), nil
}

// TestEventsComeOnceAndInOrder has an event happen while the processes are asked: one that has
// answered before and one that has not. Both come the next time.
func TestEventsComeOnceAndInOrder(t *testing.T) {
	old := ctl.Event{At: 10, Source: "a", Kind: "k"}
	late := ctl.Event{At: ctl.Now() + 1e9, Source: "b", Kind: "k"} // after the asking began
	var f eventFlags
	c := &cobra.Command{}
	c.SetContext(t.Context())
	l := &told{answers: [][]ctl.Event{{old, late}, {old, late}}}
	got, until, err := f.next(c, l, 0)
	if err != nil || !cmp.Equal(got, []ctl.Event{old}) {
		t.Fatalf("first: %v, %v", got, err)
	}
	if got, _, err = f.next(c, l, until); err != nil || len(got) != 0 {
		t.Errorf("second, before it happens: %v, %v", got, err)
	}
	l.answers = [][]ctl.Event{{late}}
	late.At = until + 1
	l.answers[0][0] = late
	if got, _, err = f.next(c, l, until); err != nil || !cmp.Equal(got, []ctl.Event{late}) {
		t.Errorf("third: %v, %v", got, err)
	}
}

func TestEventFilters(t *testing.T) {
	e := ctl.Event{Source: "f5-tmm-1", Kind: "vs-announced", Object: "192.0.2.10/32"}
	for _, tc := range []struct {
		name string
		f    eventFlags
		want bool
	}{
		{"none", eventFlags{}, true},
		{"a source", eventFlags{sources: []string{"f5-tmm-1"}}, true},
		{"one of two", eventFlags{sources: []string{"upstream", "f5-*"}}, true},
		{"another source", eventFlags{sources: []string{"upstream"}}, false},
		{"kind and source", eventFlags{sources: []string{"f5-*"}, kinds: []string{"vs-*"}}, true},
		{"source, not kind", eventFlags{sources: []string{"f5-*"}, kinds: []string{"session-*"}}, false},
		{"an object with a slash", eventFlags{objects: []string{"192.0.2.10/32"}}, true},
		{"objects with a slash", eventFlags{objects: []string{"192.0.2.*/32"}}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.f.wanted(e); got != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

func TestEventLines(t *testing.T) {
	events := []ctl.Event{{At: 1_000_000_000, Source: "f5-tmm-1", Kind: "vs-announced", Object: "192.0.2.10/32", Detail: "web"}, {At: 1_250_000_000, Source: "upstream", Kind: "fib-installed"}}
	out := formatTable
	f := eventFlags{time: clockRelative, out: &out}
	var b strings.Builder
	if err := f.show(&b, events); err != nil {
		t.Fatal(err)
	}
	want := "     +0.000000  f5-tmm-1         vs-announced         192.0.2.10/32  web\n" +
		"     +0.250000  upstream         fib-installed        \n"
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("lines (-want +got):\n%s", d)
	}
	out = formatJSON
	b.Reset()
	if err := f.show(&b, events); err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSpace(b.String()), "\n") {
		var e ctl.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil || e != events[i] {
			t.Errorf("line %d: %s: %v", i, line, err)
		}
	}
}
