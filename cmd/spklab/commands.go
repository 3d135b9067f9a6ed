package main

import "github.com/spf13/cobra"

// commands are all the words of the command line, in the order that the help shows.
func commands() []*cobra.Command {
	return []*cobra.Command{
		newDoctor(), newSchema(), newVersion(), newRun(),
	}
}
