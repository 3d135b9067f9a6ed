package main

import (
	"strings"
	"testing"
	"time"

	"github.com/spklab/spklab/scenarios/report"
)

func TestRunResult(t *testing.T) {
	passed, failed := report.Scenario{State: report.Passed}, report.Scenario{State: report.Failed}
	flaky, skipped := report.Scenario{State: report.Flaky}, report.Scenario{State: report.Skipped}
	lacking := report.Scenario{State: report.Failed, Missing: []string{"iperf3"}}
	for _, tc := range []struct {
		name string
		in   []report.Scenario
		want int
	}{
		{"all passed", []report.Scenario{passed, skipped}, codePass},
		{"one failed", []report.Scenario{passed, failed, flaky}, codeFail},
		{"interrupted", []report.Scenario{passed, {State: report.Interrupted}}, codeFail},
		{"nothing selected", nil, codeNothing},
		{"flaky", []report.Scenario{passed, flaky}, codeWarn},
		{"a capability is missing", []report.Scenario{passed, lacking}, codeCapability},
		{"failed and a capability is missing", []report.Scenario{failed, lacking}, codeFail},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := exitCode(runResult(report.Run{Scenarios: tc.in}), false); got != tc.want {
				t.Errorf("exit code %d, want %d", got, tc.want)
			}
		})
	}
}

// TestProgressLine shows on a terminal which scenario of how many runs, and on anything else only what
// has ended.
func TestProgressLine(t *testing.T) {
	play := func(terminal bool) string {
		var out strings.Builder
		p := newTestProgress(&out)
		p.terminal = terminal
		p.selected(2)
		for _, name := range []string{"one", "two"} {
			p.show(report.Scenario{Group: "Ingress", Name: name})
			p.show(report.Scenario{Group: "Ingress", Name: name, State: report.Passed, Duration: time.Second})
		}
		return out.String()
	}
	if got, want := play(false), "✓ passed Ingress: one (1.00 s)\n✓ passed Ingress: two (1.00 s)\n"; got != want {
		t.Errorf("in a log %q, want %q", got, want)
	}
	terminal := play(true)
	for _, want := range []string{"… 1/2 0s Ingress: one", "… 2/2 0s Ingress: two"} {
		if !strings.Contains(terminal, want) {
			t.Errorf("on a terminal %q, want %q in it", terminal, want)
		}
	}
}

func TestWithoutBlank(t *testing.T) {
	for in, want := range map[string]string{
		"a: 1\n": "a: 1\n", "\n   \n  a: 1\n  b: 2\n\n": "  a: 1\n  b: 2\n", "": "\n", "a: 1": "a: 1\n",
	} {
		if got := withoutBlank(in); got != want {
			t.Errorf("withoutBlank(%q) = %q, want %q", in, got, want)
		}
	}
}
