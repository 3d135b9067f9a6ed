package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/dataplane/bench"
)

// objectFlags are the flags of `spklab bench object`.
type objectFlags struct {
	options bench.Options
	object  bench.Object
	packet  string
	setup   string
	out     *format
}

func newBenchObject() *cobra.Command {
	var f objectFlags
	c := &cobra.Command{
		Use: "object [FILE]", Short: "Measure a program of an object file beside the yardsticks", Args: cobra.MaximumNArgs(1),
		Long: `Measure any XDP or tc program by the wrapper that measures the proxy's. FILE is an object as libbpf
loads it; a JSON file fills its maps and variables, or --pin gives it maps that its own user space has
pinned and filled. With --pinned the program itself is a pinned one, loaded by its own user space.

    {"variables": {"limit": "10000000"},
     "maps": {"vips": [{"key": "c0000202005006", "value": "01000000"}],
              "calls": [{"key": "00000000", "program": "slow_path"}]}}

Keys, values and variables are hexadecimal, as they stand in memory. The program's verdict stands below
the table: make sure that it is the one of the path that you mean to measure.`,
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, args) },
	}
	flags := c.Flags()
	flags.StringVar(&f.object.Program, "program", "", "the program in FILE")
	flags.StringVar(&f.object.Pinned, "pinned", "", "a pinned program, instead of one in FILE")
	flags.StringToStringVar(&f.object.Pins, "pin", nil, "MAP=PATH: a map of FILE that is a pinned one (may be repeated)")
	flags.StringVar(&f.setup, "setup", "", "JSON file with entries of maps and with variables")
	flags.StringVar(&f.packet, "packet", "", "the frame in hexadecimal, or a file with it in binary")
	flags.IntVar(&f.object.Flows, "flows", 1, "vary the source of the packet, a power of two up to 65536")
	flags.IntVar(&f.options.Rounds, "rounds", 0, "how often each thing is measured (default 10)")
	flags.IntVar(&f.options.CPU, "cpu", 0, "the CPU that test runs keep to")
	f.out = addOutput(c)
	return c
}

func (f *objectFlags) run(c *cobra.Command, args []string) error {
	if err := f.read(args); err != nil {
		return exitWith(codeInput, err)
	}
	if err := needRoot("bench object"); err != nil {
		return err
	}
	p := newProgress(c.ErrOrStderr())
	f.options.Progress = p.say
	r, err := bench.RunObject(f.options, f.object)
	p.clear()
	if err != nil {
		return exitWith(codeLifecycle, err)
	}
	if err := f.out.print(c.OutOrStdout(), r, func(w io.Writer, _ bool) { showBench(w, r, true) }); err != nil {
		return exitWith(codeLifecycle, err)
	}
	return nil
}

// read takes what the flags name.
func (f *objectFlags) read(args []string) error {
	if err := f.options.Check(); err != nil {
		return err
	}
	if (len(args) == 1) == (f.object.Pinned != "") {
		return errors.New("want an object FILE with --program, or --pinned PATH")
	}
	if len(args) == 1 {
		f.object.File = args[0]
		if f.object.Program == "" {
			return fmt.Errorf("%s: --program NAME says which program", args[0])
		}
	}
	if f.packet == "" {
		return errors.New("--packet is missing: the frame in hexadecimal, or a file with it")
	}
	var err error
	if f.object.Packet, err = bench.ReadPacket(f.packet); err != nil {
		return err
	}
	if f.setup == "" {
		return nil
	}
	file, err := os.Open(f.setup)
	if err != nil {
		return fmt.Errorf("open setup: %w", err)
	}
	defer file.Close()
	f.object.Setup, err = bench.ReadSetup(file)
	return err
}
