// Package guest is the inside of a virtual machine of package vm: what process 1 does. It needs nothing in
// the guest but the kernel and itself.
package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Paths in a guest.
const (
	JobFile   = "/job.json" // a Job
	Modules   = "/modules"  // NAME.ko each
	OrderFile = Modules + "/order"
	Work      = "/work"  // where the command begins
	Share     = "/share" // of the machine, over 9P
	Out       = Share + "/out"
)

// Tag is the 9P share's name.
const Tag = "spklab"

// Names in the share.
const (
	StartedFile = "started" // there once the command runs
	StdoutFile  = "stdout"
	StderrFile  = "stderr"
	ExitFile    = "exit" // an Exit, once the command has ended
	OutDir      = "out"
)

// Job is what a guest is there for.
type Job struct {
	Argv []string `json:"argv"` // a program by its path, and its arguments
	Env  []string `json:"env,omitempty"`
}

// Exit is how a command ended.
type Exit struct {
	Code  int    `json:"code"`            // as of a shell: 128 and the signal where one ended it
	Error string `json:"error,omitempty"` // why it did not start
}

// Run is process 1. It ends with the machine, and says on the console what went wrong.
func Run() error {
	if os.Getpid() != 1 {
		return errors.New("this is process 1 of a virtual machine")
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
	}
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART) // which ends QEMU (-no-reboot)
}

func run() error {
	if err := mountKernel(); err != nil {
		return err
	}
	if err := loadModules(); err != nil {
		return err
	}
	const options = "trans=virtio,version=9p2000.L,msize=512000"
	if err := mount(filesystem{Tag, Share, "9p", options}); err != nil {
		return err
	}
	text, err := os.ReadFile(JobFile)
	if err != nil {
		return fmt.Errorf("read job: %w", err)
	}
	var job Job
	if err := json.Unmarshal(text, &job); err != nil {
		return fmt.Errorf("read job: %w", err)
	}
	exit, err := job.run()
	if err != nil {
		return err
	}
	text, err = json.Marshal(exit)
	if err != nil {
		return fmt.Errorf("write exit code: %w", err)
	}
	return put(ExitFile, string(text))
}

// put puts a file into the share, in one step.
func put(name, text string) error {
	part := filepath.Join(Share, name+".part")
	if err := os.WriteFile(part, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.Rename(part, filepath.Join(Share, name)); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

type filesystem struct{ source, dir, kind, options string }

func mount(fs filesystem) error {
	if err := os.MkdirAll(fs.dir, 0o755); err != nil {
		return fmt.Errorf("mount %s: %w", fs.dir, err)
	}
	if err := unix.Mount(fs.source, fs.dir, fs.kind, 0, fs.options); err != nil {
		return fmt.Errorf("mount %s: %w", fs.dir, err)
	}
	return nil
}

// mountKernel mounts what the kernel shows of itself.
func mountKernel() error {
	for _, fs := range []filesystem{
		{"dev", "/dev", "devtmpfs", ""}, {"proc", "/proc", "proc", ""}, {"sys", "/sys", "sysfs", ""},
		{"run", "/run", "tmpfs", ""}, {"tmp", "/tmp", "tmpfs", ""},
		{"cgroup", "/sys/fs/cgroup", "cgroup2", ""}, {"bpf", "/sys/fs/bpf", "bpf", ""}, {"tracing", "/sys/kernel/tracing", "tracefs", ""},
	} {
		if err := mount(fs); err != nil {
			return err
		}
	}
	return nil
}

// loadModules loads the modules of the initramfs in their order.
func loadModules() error {
	order, err := os.ReadFile(OrderFile)
	if err != nil {
		return fmt.Errorf("read list of modules: %w", err)
	}
	for name := range strings.FieldsSeq(string(order)) {
		if err := loadModule(name); err != nil {
			return fmt.Errorf("load module %s: %w", name, err)
		}
	}
	return nil
}

func loadModule(name string) error {
	f, err := os.Open(filepath.Join(Modules, name+".ko"))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("finit_module: %w", err)
	}
	return nil
}

// run runs the command to its end. The error is of the share; what is wrong with the command is in the Exit.
func (j Job) run() (Exit, error) {
	stdout, err := os.Create(filepath.Join(Share, StdoutFile))
	if err != nil {
		return Exit{}, fmt.Errorf("open output: %w", err)
	}
	defer stdout.Close()
	stderr, err := os.Create(filepath.Join(Share, StderrFile))
	if err != nil {
		return Exit{}, fmt.Errorf("open output: %w", err)
	}
	defer stderr.Close()
	cmd := exec.Command(j.Argv[0], j.Argv[1:]...)
	cmd.Dir = Work
	cmd.Env = append([]string{"PATH=/bin", "HOME=/tmp", "TERM=dumb"}, j.Env...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := put(StartedFile, ""); err != nil {
		return Exit{}, err
	}
	err = cmd.Run()
	var ended *exec.ExitError
	switch {
	case err == nil:
		return Exit{}, nil
	case !errors.As(err, &ended):
		return Exit{Code: 127, Error: err.Error()}, nil
	}
	return Exit{Code: code(ended)}, nil
}

// code is what a shell would say of a command that failed.
func code(ended *exec.ExitError) int {
	if status, ok := ended.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return ended.ExitCode()
}
