package record

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/scenarios/report"
)

// Collector turns the stream of a test into reports. Its zero Deadlines are the default ones.
type Collector struct {
	Dir       string   // of artefacts; it exists
	Sources   []Source // told of a beginning all at once, and asked at the end in this order
	Deadlines Deadlines

	assembly Assembly
	disk     *disk
	workers  []*worker
	answers  io.Writer
	failed   error // of the reports at the end
}

// Run reads the stream until "done", its end, or the end of ctx, and returns when the reports are
// written. Records with Kind Begins, Ends and RunEnds are answered with their kind on a line, after
// the sources have done their part; where nobody reads the answers any more the work goes on. The
// error says that reports could not be written; whatever else is missing they say themselves.
func (c *Collector) Run(ctx context.Context, stream io.Reader, answers io.Writer) error {
	if c.Deadlines == (Deadlines{}) {
		c.Deadlines = DefaultDeadlines()
	}
	c.answers, c.disk = answers, openDisk(c.Dir)
	defer c.disk.close()
	for _, s := range c.Sources {
		c.workers = append(c.workers, &worker{source: s})
	}
	why := c.follow(ctx, stream)
	if why == "" {
		return c.failed
	}
	if c.assembly.run.Version == 0 {
		return nil // no run has begun
	}
	if s, ok := c.assembly.Current(); ok && !c.assembly.ended {
		s.State, s.Ended, s.Message = report.Interrupted, ctl.Now(), why
		c.take(Record{At: s.Ended, Kind: Ends, Scenario: &s})
		c.end()
	}
	c.take(Record{At: ctl.Now(), Kind: Interrupted, Message: why})
	_ = c.disk.reports(c.assembly.Run()) // at once: whoever ended the test may end the collector next
	return c.finish()
}

// follow takes records as they come, and says why the stream ended without "done"; empty: it did not.
func (c *Collector) follow(ctx context.Context, stream io.Reader) string {
	lines := make(chan []byte)
	ended := make(chan error, 1)
	go func() { ended <- split(ctx, stream, lines) }()
	for {
		select {
		case line := <-lines:
			var r Record
			if err := json.Unmarshal(line, &r); err != nil {
				return fmt.Sprintf("the test's stream is damaged: %v", err)
			}
			if c.handle(r) {
				return ""
			}
		case err := <-ended:
			if err != nil {
				return fmt.Sprintf("the test's stream broke off: %v", err)
			}
			return "the test process ended without finishing the run (killed, or crashed)"
		case <-ctx.Done():
			return "the collector was told to end"
		}
	}
}

// split sends whole lines; what a killed writer left of its last one is dropped.
func split(ctx context.Context, stream io.Reader, lines chan<- []byte) error {
	r := bufio.NewReader(stream)
	for {
		line, err := r.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case lines <- line:
		case <-ctx.Done():
			return nil
		}
	}
}

// handle takes a record and does what it asks for; it says whether that was the last one.
func (c *Collector) handle(r Record) (last bool) {
	switch r.Kind {
	case Begins:
		c.take(r)
		c.begin()
		c.answer(r.Kind)
	case Ends:
		c.take(r)
		c.end()
		c.answer(r.Kind)
	case Judged:
		if _, running := c.assembly.Current(); running && !c.assembly.ended && r.Scenario != nil {
			c.take(Record{At: r.At, Kind: Ends, Scenario: r.Scenario})
			c.end()
		}
		c.take(r)
		if r.Scenario != nil && (r.Scenario.State == report.Failed || r.Scenario.State == report.Interrupted) {
			_ = c.disk.reports(c.assembly.Run()) // those of the run's end say what was missing
		}
	case RunEnds:
		c.take(r)
		if c.failed = c.finish(); c.failed == nil {
			c.answer(r.Kind)
		}
		return true
	default:
		c.take(r)
	}
	return false
}

// take keeps a record, in memory and on the disk.
func (c *Collector) take(r Record) {
	c.assembly.Add(r)
	c.disk.append(r)
}

// answer tells the test; one that is gone cannot hear.
func (c *Collector) answer(k Kind) { _, _ = fmt.Fprintf(c.answers, "%s\n", k) }

// begin tells the sources that a scenario starts, all at once: the scenario waits for the slowest of them.
func (c *Collector) begin() {
	s, ok := c.assembly.Current()
	if !ok {
		return
	}
	errs := make([]error, len(c.workers))
	var begun sync.WaitGroup
	for i, w := range c.workers {
		begun.Go(func() { errs[i] = w.begin(c.Deadlines, s) })
	}
	begun.Wait()
	var gaps []report.Gap
	for i, w := range c.workers {
		if err := errs[i]; err != nil {
			gaps = append(gaps, report.Gap{Collector: w.source.Name(), Why: "before the scenario: " + err.Error()})
		}
	}
	if len(gaps) > 0 {
		s.Gaps = append(clipped(s).Gaps, gaps...)
		c.take(Record{At: ctl.Now(), Kind: Collected, Scenario: &s})
	}
}

// end has the sources add what they have seen. Of an attempt that passed after others had failed
// nothing is kept: what was seen of the failure says more.
func (c *Collector) end() {
	before, ok := c.assembly.Current()
	if !ok {
		return
	}
	s := before
	for _, w := range c.workers {
		var err error
		if s, err = w.end(c.Deadlines, s); err != nil {
			s.Gaps = append(clipped(s).Gaps, report.Gap{Collector: w.source.Name(), Why: err.Error()})
		}
	}
	if before.Attempts > 1 && before.State == report.Passed {
		s = before
	}
	c.take(Record{At: ctl.Now(), Kind: Collected, Scenario: &s})
}

// finish closes the sources and writes the reports.
func (c *Collector) finish() error {
	run := c.assembly.Run()
	for _, w := range c.workers {
		var err error
		if run, err = w.close(c.Deadlines, run); err != nil {
			run.Gaps = append(run.Gaps, report.Gap{Collector: w.source.Name(), Why: err.Error()})
		}
	}
	return c.disk.reports(run)
}
