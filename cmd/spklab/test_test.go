package main

import (
	"testing"

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
