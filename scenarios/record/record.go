package record

import (
	"github.com/spklab/spklab/scenarios/report"
)

// Kind says what a record is about, and so which of its fields are set.
type Kind string

// The kinds, in the order in which they come.
const (
	RunBegins   Kind = "run"         // Run: everything but its scenarios
	Begins      Kind = "begin"       // Scenario: Group, Name, Labels, Started, Began; again for each attempt
	StepBegins  Kind = "step"        // Step: Name, Began
	StepEnds    Kind = "step-end"    // Step
	Observed    Kind = "observation" // Check: Name, and in Seen what is new
	Checked     Kind = "check"       // Check
	Measured    Kind = "figure"      // Figure
	Showed      Kind = "evidence"    // Evidence
	Happened    Kind = "event"       // Event: what the scenario itself does to the lab
	Kept        Kind = "artifact"    // Artifact
	Ends        Kind = "end"         // Scenario: State, Ended, Message, Location; what it changed is not put back yet
	Collected   Kind = "collected"   // Scenario: what the sources added; written by the collector
	Judged      Kind = "verdict"     // Scenario: as it is in the end, with its figures and evidence
	RunEnds     Kind = "done"        // Run: Duration, Gaps
	Interrupted Kind = "interrupted" // Message: why the stream ended without "done"; written by the collector
)

// Record is one line of the stream.
type Record struct {
	At       int64            `json:"at_ns"` // CLOCK_MONOTONIC
	Kind     Kind             `json:"kind"`
	Run      *report.Run      `json:"run,omitempty"`
	Scenario *report.Scenario `json:"scenario,omitempty"`
	Step     *report.Step     `json:"step,omitempty"`
	Check    *report.Check    `json:"check,omitempty"`
	Figure   *report.Figure   `json:"figure,omitempty"`
	Evidence *report.Evidence `json:"evidence,omitempty"`
	Event    *report.Event    `json:"event,omitempty"`
	Artifact string           `json:"artifact,omitempty"`
	Message  string           `json:"message,omitempty"`
}

// Stream is the name of the gap that a run has whose test ended without "done".
const Stream = "scenarios"

// File is the name of the stream's file in the directory of artefacts.
const File = "records.jsonl"
