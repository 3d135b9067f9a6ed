package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spklab/spklab/lab"
)

// redraw is how often a terminal's progress line changes at most.
const redraw = 50 * time.Millisecond

// progress shows one changing line on a terminal, and only the waits on anything else: a log
// wants no line for each of two hundred steps.
type progress struct {
	w        io.Writer
	terminal bool
	last     time.Time
	shown    bool
	began    time.Time
}

func newProgress(w io.Writer) *progress {
	return &progress{w: w, terminal: isTerminal(w), began: time.Now()}
}

// show is lab.Options.Progress.
func (p *progress) show(e lab.Event) {
	switch {
	case p.terminal && time.Since(p.last) >= redraw:
		p.last, p.shown = time.Now(), true
		count := ""
		if e.Total > 0 {
			count = fmt.Sprintf("%d/%d ", e.Done, e.Total)
		}
		fmt.Fprintf(p.w, "\r\x1b[K%s%s", count, e.Text)
	case !p.terminal && e.Total == 0:
		fmt.Fprintln(p.w, e.Text)
	}
}

// done clears the line and says what came of it.
func (p *progress) done(format string, args ...any) {
	p.clear()
	fmt.Fprintf(p.w, format+" (%.1f s)\n", append(args, time.Since(p.began).Seconds())...)
}

// clear takes the line away.
func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// say shows one line: a changing one on a terminal, each by itself on anything else.
func (p *progress) say(text string) {
	if !p.terminal {
		fmt.Fprintln(p.w, text)
		return
	}
	p.shown = true
	fmt.Fprintf(p.w, "\r\x1b[K%s", text)
}
