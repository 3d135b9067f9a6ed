package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/hil"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/ovn/debs"
	"github.com/spklab/spklab/vm"
	"github.com/spklab/spklab/vm/guest"
)

// vmFlags are the flags of `spklab vm`.
type vmFlags struct {
	kernel    string
	program   string
	host      bool
	lab       string
	inventory string
	put       []string
	env       []string
	artifacts string
	timeout   time.Duration
}

func newVM() *cobra.Command {
	var f vmFlags
	c := &cobra.Command{
		Use: "vm [flags] -- WORDS...", Short: "Run spklab, or another static program, in a virtual machine with a kernel of Debian's",
		Long: `Run a command in a virtual machine with a kernel of Debian's, without root and without a change on
this machine: QEMU without hardware acceleration, three igb network cards on one wire. WORDS
are spklab's own, such as ` + "`doctor`" + `; with --program they are that program's. QEMU and the kernel are
downloaded the first time, with Debian's signatures checked. Output and exit code are the command's;
what it leaves in ` + guest.Out + ` comes back with --artifacts. The guest has no other programs, but with
--host it has all of this machine's: the machine's files, what is written to them going to memory, with its own
/run; and the command begins in this directory. The word test first brings --lab up there: spk-sriov, whose
TMMs have VFs of the emulated cards, or any other, such as spk with its macvlans.`,
		Example: "  spklab vm -- doctor\n  spklab vm --kernel 6.1 --program ./dataplane.test --put dataplane/testdata -- -test.v -test.run TestPackets\n  spklab vm --host -- doctor\n  spklab vm --artifacts run -- test --label-filter sriov\n  spklab vm --kernel 6.1 --lab spk -- test --label-filter ingress\n  cd topo && go test -c -o /tmp/topo.test && spklab vm --host --program /tmp/topo.test --env CI=true -- -test.v",
		RunE:    func(c *cobra.Command, args []string) error { return f.run(c, args) },
	}
	flags := c.Flags()
	flags.SetInterspersed(false)
	flags.StringVar(&f.kernel, "kernel", vm.DefaultKernel, "kernel: "+strings.Join(vmKernels(), ", "))
	flags.StringVar(&f.program, "program", "", "static program to run instead of spklab")
	flags.BoolVar(&f.host, "host", false, "the guest has this machine's files and programs, beneath a layer in memory, and begins where this command does")
	flags.StringVar(&f.lab, "lab", "spk-sriov", "lab that the guest brings up for the word test, which then has --host")
	flags.StringVarP(&f.inventory, "inventory", "i", hil.VM, "which of the guest's cards that lab uses, and what they are cabled to, where it has SriovNetworkNodePolicies")
	_ = c.RegisterFlagCompletionFunc("lab", completeTopologies)
	_ = c.RegisterFlagCompletionFunc("inventory", completeInventories)
	flags.StringArrayVar(&f.put, "put", nil, "file or directory that the command finds where it begins, by its last name (may be repeated)")
	flags.StringArrayVar(&f.env, "env", nil, "NAME=VALUE for the command's environment (may be repeated)")
	flags.StringVar(&f.artifacts, "artifacts", "", "directory for the files that come back")
	flags.DurationVar(&f.timeout, "timeout", vm.DefaultTimeout, "how long the guest may take in all")
	_ = c.RegisterFlagCompletionFunc("kernel", cobra.FixedCompletions(vmKernels(), cobra.ShellCompDirectiveNoFileComp))
	return c
}

func vmKernels() []string {
	var out []string
	for _, k := range vm.Kernels() {
		out = append(out, k.Release)
	}
	return out
}

func (f *vmFlags) run(c *cobra.Command, args []string) error {
	job, err := f.job(args)
	if err != nil {
		return exitWith(codeInput, err)
	}
	cache, err := debs.DefaultCache()
	if err != nil {
		return fail(err)
	}
	p := newProgress(c.ErrOrStderr())
	job.Stdout, job.Stderr = c.OutOrStdout(), c.ErrOrStderr()
	code, err := vm.Run(c.Context(), cache, job, func(text string, done, total int) {
		p.show(lab.Event{Text: text, Done: done, Total: total})
	})
	p.clear()
	switch {
	case errors.Is(err, vm.ErrNotStatic):
		return exitWith(codeInput, err)
	case errors.Is(err, debs.ErrUnsupported):
		return exitWith(codeCapability, err)
	case err != nil:
		return exitWith(codeLifecycle, err)
	case code != 0:
		return exitWith(code, nil)
	}
	return nil
}

// job is what the command line asks for.
func (f *vmFlags) job(args []string) (vm.Job, error) {
	kernel, err := vm.KernelOf(f.kernel)
	if err != nil {
		return vm.Job{}, fmt.Errorf("--kernel: %w", err)
	}
	if len(args) == 0 && f.program == "" {
		return vm.Job{}, errors.New("nothing to run: say what after --, e.g. `spklab vm -- doctor`")
	}
	self, err := os.Executable()
	if err != nil {
		return vm.Job{}, fmt.Errorf("find spklab: %w", err)
	}
	job := vm.Job{Kernel: kernel, Init: self, Argv: append([]string{"/init"}, args...), Env: f.env, Put: map[string]string{}, Out: f.artifacts, Timeout: f.timeout}
	if f.program != "" {
		to := guest.Work + "/" + filepath.Base(f.program)
		job.Argv[0], job.Put[to] = to, f.program
	}
	if f.program == "" && len(args) > 0 && args[0] == testWord {
		f.host = true
		job.Argv = append([]string{"/init"}, guestTest(f.lab, f.inventory, f.artifacts != "", args[1:])...)
	}
	if f.host {
		if err := f.giveHost(&job); err != nil {
			return vm.Job{}, err
		}
	}
	for _, from := range f.put {
		job.Put[guest.Work+"/"+filepath.Base(filepath.Clean(from))] = from
	}
	for _, from := range job.Put {
		if _, err := os.Stat(from); err != nil {
			return vm.Job{}, err
		}
	}
	if f.artifacts != "" {
		if err := os.MkdirAll(f.artifacts, 0o755); err != nil {
			return vm.Job{}, fmt.Errorf("--artifacts: %w", err)
		}
	}
	return job, nil
}

// giveHost gives the guest this machine's files. spklab itself runs from where it stands, beside spkproxy.
func (f *vmFlags) giveHost(job *vm.Job) error {
	dir, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find directory: %w", err)
	}
	job.Host, job.Dir, job.Keep = true, dir, []string{filepath.Dir(job.Init), dir}
	if f.program == "" {
		job.Argv[0] = job.Init
	}
	return nil
}

// newRunGuest is process 1 of a guest of `spklab vm`.
func newRunGuest() *cobra.Command {
	return process("vm-init", "process 1 of a virtual machine", func(*cobra.Command) error { return guest.Run() })
}
