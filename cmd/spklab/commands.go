package main

import "github.com/spf13/cobra"

// commands are all the words of the command line.
func commands() []*cobra.Command {
	return []*cobra.Command{
		newUp(), newDown(), newPlan(), newValidate(), newPrune(), newDoctor(), newFetch(),
		newInspect(), newGraph(), newExplain(), newConform(), newApply(), newDelete(), newGet(), newScale(), newExec(), newTest(),
		newBaseline(), newDiff(), newEvents(), newWatch(),
		newCapture(), newTrace(), newVM(),
		newBench(), newState(), newSchema(), newVersion(), newRun(),
	}
}
