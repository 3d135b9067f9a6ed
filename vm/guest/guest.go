// Package guest is the inside of a virtual machine of package vm: what process 1 does. It needs nothing in
// the guest but the kernel and itself.
package guest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
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

// Names of the 9P shares.
const (
	Tag     = "spklab"
	HostTag = "spklab-host" // the machine's files
)

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
	Dir  string   `json:"dir,omitempty"` // where it begins; "": Work
	// Host says that the guest's files are those of HostTag beneath a layer in memory. What the guest mounts itself
	// hides what was there, but for Keep: directories that it sees read-only all the same.
	Host bool     `json:"host,omitempty"`
	Keep []string `json:"keep,omitempty"`
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
	if err := mountKernel("/"); err != nil {
		return err
	}
	if err := loadModules(); err != nil {
		return err
	}
	if err := mount(filesystem{source: Tag, dir: Share, kind: "9p", options: sharing}); err != nil {
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
	if err := job.prepare(); err != nil {
		return err
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

// prepare makes of the kernel's bare machine one that programs expect.
func (j Job) prepare() error {
	if j.Host {
		if err := j.enterRoot(); err != nil {
			return err
		}
	}
	if err := unix.Sethostname([]byte("guest")); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
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
	return j.start([3]*os.File{nil, stdout, stderr})
}

// path is the command's PATH.
const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// start runs the command to its end.
func (j Job) start(files [3]*os.File) (Exit, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return Exit{}, fmt.Errorf("open input: %w", err)
	}
	defer null.Close()
	files[0] = null
	if err := put(StartedFile, ""); err != nil {
		return Exit{}, err
	}
	p, err := os.StartProcess(j.Argv[0], j.Argv, &os.ProcAttr{
		Dir: cmp.Or(j.Dir, Work), Files: files[:],
		Env: append([]string{"PATH=" + path, "HOME=/tmp", "TERM=dumb"}, j.Env...),
	})
	if err != nil {
		return Exit{Code: 127, Error: err.Error()}, nil
	}
	return reap(p.Pid)
}

// reap waits for a process, and for all whose parents have ended before them: process 1 is who buries those.
func reap(pid int) (Exit, error) {
	for {
		var status syscall.WaitStatus
		ended, err := syscall.Wait4(-1, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return Exit{}, fmt.Errorf("wait for the command: %w", err)
		}
		if ended == pid {
			return Exit{Code: code(status)}, nil
		}
	}
}

// code is what a shell would say of a command that ended.
func code(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}
