package main

import (
	"bytes"
	"io"
	"time"

	"github.com/spf13/cobra"
)

// Names of the flags that make a command repeat itself.
const (
	flagWatch = "watch"
	flagEvery = "every"
)

// clearScreen is ECMA-48's cursor position and erase in page.
const clearScreen = "\x1b[H\x1b[2J"

// addWatch gives a command the flags for watched.
func addWatch(c *cobra.Command) {
	c.Flags().BoolP(flagWatch, "w", false, "go on, refreshing, until interrupted")
	c.Flags().Duration(flagEvery, time.Second, "with --watch: how often to refresh")
}

// watched shows something once, or with --watch again and again until the command's context
// ends, which is no error. A terminal is cleared before each turn; elsewhere the turns follow
// one another.
func watched(c *cobra.Command, show func(io.Writer) error) error {
	out := c.OutOrStdout()
	if on, err := c.Flags().GetBool(flagWatch); err != nil || !on {
		return show(out)
	}
	every, err := c.Flags().GetDuration(flagEvery)
	if err != nil {
		return err
	}
	tick := time.NewTicker(max(every, 100*time.Millisecond))
	defer tick.Stop()
	for {
		var page bytes.Buffer // whole pages do not flicker
		if isTerminal(out) {
			page.WriteString(clearScreen)
		}
		if err := show(&page); err != nil {
			if c.Context().Err() != nil {
				return nil
			}
			return err
		}
		if _, err := page.WriteTo(out); err != nil {
			return err
		}
		select {
		case <-c.Context().Done():
			return nil
		case <-tick.C:
		}
	}
}
