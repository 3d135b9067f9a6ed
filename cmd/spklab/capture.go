package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/scenarios/evidence"
)

// captureFlags are the flags of `spklab capture`.
type captureFlags struct {
	file     string
	count    int
	duration time.Duration
}

func newCapture() *cobra.Command {
	var f captureFlags
	var name *string
	c := &cobra.Command{
		Use: "capture NODE:IF [NODE:IF ...]", Short: "Show or write what passes interfaces of a running lab",
		Long: `Show what passes interfaces of a running lab, in one order, a line a packet; with -w a capture file
(pcapng) instead, with the interfaces' names. NODE: alone stands for every interface of a node.`,
		Example: "  spklab capture router:eth0 f5-tmm-1:net1\n  spklab capture worker-1:ens224 -w - | wireshark -k -i -",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if f.count < 0 || f.duration < 0 {
				return exitWith(codeInput, fmt.Errorf("--count and --duration: want 0 (no limit) or more"))
			}
			if err := needRoot("capture"); err != nil {
				return err
			}
			l, p, err := openLab(c, *name)
			if err != nil {
				return err
			}
			p.clear()
			points, err := capturePoints(l, args)
			if err != nil {
				return err
			}
			return f.run(c, points)
		},
	}
	c.Flags().StringVarP(&f.file, "write", "w", "", "write a capture file (pcapng) here; - is standard output")
	c.Flags().IntVar(&f.count, "count", 0, "end after so many packets (0: when interrupted)")
	c.Flags().DurationVar(&f.duration, "duration", 0, "end after this time (0: when interrupted)")
	name = addLab(c)
	return c
}

// capturePoints are the interfaces that the arguments mean, each once.
func capturePoints(l *lab.Lab, args []string) ([]evidence.Point, error) {
	links, err := l.Links()
	if err != nil {
		return nil, fail(err)
	}
	var out []evidence.Point
	for _, arg := range args {
		node, link, ok := strings.Cut(arg, ":")
		if !ok {
			return nil, exitWith(codeInput, fmt.Errorf("%q: want NODE:IF, like router:eth0", arg))
		}
		var there []string
		found := false
		for _, k := range links {
			if k.Node != node {
				continue
			}
			there = append(there, k.Name)
			p := evidence.Point{Node: node, Netns: l.Runtime().Netns(node), Interface: k.Name}
			if (link == "" || k.Name == link) && !slices.Contains(out, p) {
				out = append(out, p)
			}
			found = found || link == "" || k.Name == link
		}
		switch {
		case len(there) == 0:
			return nil, exitWith(codeInput, fmt.Errorf("%q: the lab has no node %s; `spklab inspect nodes` lists them", arg, node))
		case !found:
			return nil, exitWith(codeInput, fmt.Errorf("%q: %s has no interface %s; it has %s", arg, node, link, strings.Join(there, ", ")))
		}
	}
	return out, nil
}

// refresh is how often packets are shown: they are put in one order first.
const refresh = 100 * time.Millisecond

// run shows or writes packets until a limit is reached or the command is interrupted.
func (f *captureFlags) run(c *cobra.Command, points []evidence.Point) error {
	sink, done, err := f.sink(c, points)
	if err != nil {
		return exitWith(codeInput, err)
	}
	ctx := c.Context()
	if f.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.duration)
		defer cancel()
	}
	capture, err := evidence.Start(points, 0)
	if err != nil {
		return exitWith(codeLifecycle, err)
	}
	n, werr := f.stream(ctx, capture, sink)
	t, err := capture.Stop()
	if err != nil {
		return exitWith(codeLifecycle, err)
	}
	fmt.Fprintf(c.ErrOrStderr(), "%d packets, %d lost\n", n, t.Lost)
	if werr == nil {
		werr = done()
	}
	if werr != nil {
		return exitWith(codeLifecycle, fmt.Errorf("write packets: %w", werr))
	}
	return nil
}

// stream gives packets to the sink in the order of their time stamps, and returns how many.
func (f *captureFlags) stream(ctx context.Context, capture *evidence.Capture, sink func([]evidence.Packet) error) (int, error) {
	tick := time.NewTicker(refresh)
	defer tick.Stop()
	n := 0
	for {
		ended := false
		select {
		case <-ctx.Done():
			ended = true
		case <-tick.C:
		}
		packets, err := capture.Take()
		if err != nil {
			return n, err
		}
		if f.count > 0 && n+len(packets) >= f.count {
			packets, ended = packets[:f.count-n], true
		}
		n += len(packets)
		if err := sink(packets); err != nil || ended {
			return n, err
		}
	}
}

// sink is where packets go, and what ends that.
func (f *captureFlags) sink(c *cobra.Command, points []evidence.Point) (sink func([]evidence.Packet) error, done func() error, err error) {
	if f.file == "" {
		w := c.OutOrStdout()
		return func(packets []evidence.Packet) error { return printPackets(w, packets) }, func() error { return nil }, nil
	}
	out, end := c.OutOrStdout(), func() error { return nil }
	if f.file != "-" {
		file, err := os.OpenFile(f.file, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return nil, nil, fmt.Errorf("create capture file: %w", err)
		}
		out, end = file, file.Close
	}
	w, err := evidence.NewPcapng(out, points)
	if err != nil {
		return nil, nil, err
	}
	return w.Write, end, nil
}

// printPackets is a line a packet, with the time of day.
func printPackets(w io.Writer, packets []evidence.Packet) error {
	for _, p := range packets {
		if _, err := fmt.Fprintf(w, "%s %s\n", p.At.Format("15:04:05.000000"), p); err != nil {
			return err
		}
	}
	return nil
}
