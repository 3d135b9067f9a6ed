package sriov

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/topo/sriov"
	"github.com/spklab/spklab/vm/guest"
)

// envWhere says what is to be done: onMachine boots a guest, inGuest runs the checks.
const (
	envWhere  = "SPKLAB_SRIOV"
	onMachine = "machine"
	inGuest   = "guest"
)

// Files that a guest brings back.
const (
	junitFile = "junit.xml"
	tableFile = "checks.md"
)

// check is one thing that has to hold on the cards, after all that stand before it.
type check struct {
	name    string
	setting sriov.Setting // that the check is about, if a report has something to say of it
	do      func(*cards) error
}

// label is what a report says of a setting of the cards: whether they act on it.
func label(t *testing.T, s sriov.Setting) string {
	t.Helper()
	inv, err := topo.Host{}.Cards()
	if err != nil || len(inv.PFs) == 0 {
		t.Fatalf("%d cards, %v", len(inv.PFs), err)
	}
	return inv.Label(&inv.PFs[0], s)
}

// group is checks about one thing.
type group struct {
	name    string
	checks  []check
	chained bool // each needs those before it: after a failure none is tried
}

// TestVirtualFunctions runs every check, in order, and leaves reports for the machine.
func TestVirtualFunctions(t *testing.T) {
	if os.Getenv(envWhere) != inGuest {
		t.Skip("make e2e-sriov runs it, in a virtual machine")
	}
	c := newCards(t)
	run := report.Run{Lab: "sriov", Started: time.Now()}
	var before []sriov.PF // the cards without a lab
	groups := []group{functions(), administration(), packets(), drivers(), restored(&before), topology(), vlans(), unplugged(), removed(), takenDown(&before)}
	broken := ""
	for _, g := range groups {
		for _, k := range g.checks {
			t.Run(g.name+"/"+k.name, func(t *testing.T) {
				s := report.Scenario{Group: g.name, Name: k.name, State: report.Passed, Started: time.Now(), Attempts: 1}
				if err := g.try(k, c, &broken); err != nil {
					s.State, s.Message = report.Failed, err.Error()
					t.Error(err)
				}
				s.Duration = time.Since(s.Started)
				if note := label(t, k.setting); note != "" {
					s.Labels = []string{note}
				}
				run.Scenarios = append(run.Scenarios, s)
			})
		}
	}
	run.Duration = time.Since(run.Started)
	save(t, run)
}

// try does a check, unless one that it needs has failed.
func (g group) try(k check, c *cards, broken *string) error {
	if g.chained && *broken != "" {
		return fmt.Errorf("not tried after %q", *broken)
	}
	err := k.do(c)
	if err != nil && g.chained {
		*broken = k.name
	}
	return err
}

// save writes what comes back to the machine.
func save(t *testing.T, run report.Run) {
	t.Helper()
	if err := report.SaveTo(filepath.Join(guest.Out, junitFile), run.WriteJUnit); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(guest.Out, tableFile), []byte(table(run)), 0o644); err != nil {
		t.Error(err)
	}
}

// table is a run in Markdown, one line a check.
func table(run report.Run) string {
	var b strings.Builder
	b.WriteString("| about | check | verdict | seconds |\n|---|---|---|--:|\n")
	for _, s := range run.Scenarios {
		verdict := string(s.State)
		if len(s.Labels) > 0 {
			verdict += ", " + strings.Join(s.Labels, ", ")
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %.1f |\n", s.Group, s.Name, verdict, s.Duration.Seconds())
	}
	n := run.Counts()
	fmt.Fprintf(&b, "\n%d passed, %d failed in %.0f s\n", n.Passed, n.Failed, run.Duration.Seconds())
	return b.String()
}
