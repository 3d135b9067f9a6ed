package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/scenarios"
	"github.com/spklab/spklab/scenarios/diagnose"
	"github.com/spklab/spklab/scenarios/flow"
	"github.com/spklab/spklab/scenarios/record"
	"github.com/spklab/spklab/scenarios/regress"
	"github.com/spklab/spklab/scenarios/state"
	"github.com/spklab/spklab/scenarios/timeline"
)

// answersFD is where the collector answers; its records come by standard input.
const answersFD = 3

// newRunCollector is the process that `spklab test` streams to and that writes the reports.
func newRunCollector() *cobra.Command {
	var name, dir, pcap, baseline string
	var store func() regress.Store
	c := &cobra.Command{
		Use: "collector", Short: "Writes the reports of a test", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			signal.Ignore(syscall.SIGPIPE) // of a test that is gone
			l, err := lab.Open(name, lab.Options{})
			if err != nil {
				return fail(err)
			}
			col := record.Collector{Dir: dir, Sources: sources(l, dir, scenarios.Pcap(pcap), stateOf(store(), baseline))}
			if baseline != "" {
				base, err := store().Load(baseline)
				if err != nil {
					return runError(err)
				}
				col.Sources = append(col.Sources, &regress.Source{Baseline: baseline, Base: base, Dir: dir})
			}
			return col.Run(c.Context(), os.Stdin, os.NewFile(answersFD, "answers"))
		},
	}
	c.Flags().StringVar(&name, "lab", "", "name of the lab")
	c.Flags().StringVar(&dir, "artifacts", "", "directory of the reports")
	c.Flags().StringVar(&pcap, "pcap", string(scenarios.PcapOnFailure), "which packets to keep: on-failure, always or off")
	c.Flags().StringVar(&baseline, "baseline", "", "what to compare the run with")
	store = addStore(c, flagBaselineDir)
	return c
}

// sources are what is collected about a lab, in the order in which they are asked.
// Those that judge go by what the others have added. good is the state of the last good run, empty for none.
func sources(l *lab.Lab, dir string, pcap scenarios.Pcap, good string) []record.Source {
	var packets []record.Source
	if pcap != scenarios.PcapOff {
		packets = append(packets, flow.NewSource(l, dir, pcap == scenarios.PcapAlways))
	}
	return append(packets,
		timeline.NewSource(l),
		state.NewSource(l, dir, good),
		diagnose.NewSource(l),
		&restore{lab: l},
	)
}

// collecting is a collector that runs.
type collecting struct {
	Writer *record.Writer
	wait   func() error // until it has ended
}

// pipes are the stream to a collector and its answers.
type pipes struct{ stream, in, out, answers *os.File }

func newPipes() (p pipes, err error) {
	if p.stream, p.in, err = os.Pipe(); err != nil {
		return p, fmt.Errorf("make pipe: %w", err)
	}
	if p.out, p.answers, err = os.Pipe(); err != nil {
		return p, errors.Join(fmt.Errorf("make pipe: %w", err), p.stream.Close(), p.in.Close())
	}
	return p, nil
}

// startCollector starts a collector in a session of its own, so that what ends the test does not end
// it before it has written. More are flags of its own.
func startCollector(l *lab.Lab, dir string, pcap scenarios.Pcap, more ...string) (*collecting, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own program: %w", err)
	}
	p, err := newPipes()
	if err != nil {
		return nil, err
	}
	defer p.stream.Close()
	defer p.answers.Close()
	w := record.NewWriter(p.in, p.out)
	argv := append([]string{"run", "collector", "--lab", l.Name(), "--artifacts", dir, "--pcap", string(pcap)}, more...)
	cmd := exec.CommandContext(context.Background(), self, argv...)
	cmd.Stdin, cmd.Stderr, cmd.ExtraFiles = p.stream, os.Stderr, []*os.File{p.answers}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		_ = w.Close() // the first error says more
		return nil, fmt.Errorf("start collector: %w", err)
	}
	return &collecting{Writer: w, wait: cmd.Wait}, nil
}

// startJudging starts a collector in this process that does no more than to give failures their
// verdicts, for a test whose reports nobody keeps. dir is for its use.
func startJudging(l *lab.Lab, dir string) (*collecting, error) {
	p, err := newPipes()
	if err != nil {
		return nil, err
	}
	col := record.Collector{Dir: dir, Sources: []record.Source{diagnose.NewSource(l)}}
	var g errgroup.Group
	g.Go(func() error { // an interrupt ends the test, which ends the stream
		err := col.Run(context.Background(), p.stream, p.answers)
		return errors.Join(err, p.stream.Close(), p.answers.Close())
	})
	return &collecting{Writer: record.NewWriter(p.in, p.out), wait: g.Wait}, nil
}

// end ends the stream and returns when the collector has ended; the error says why there are no
// reports of it, or no complete ones.
func (c *collecting) end() error {
	err := c.Writer.Err()
	_ = c.Writer.Close() // both ends are pipes
	if werr := c.wait(); err == nil && werr != nil {
		err = fmt.Errorf("collector: %w", werr)
	}
	return err
}
