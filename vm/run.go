package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spklab/spklab/ovn/debs"
	"github.com/spklab/spklab/vm/guest"
)

// Job is a command to run in a guest.
type Job struct {
	Kernel Kernel
	Init   string   // a static program that calls guest.Run when it gets InitArgs
	Argv   []string // the command: a path in the guest and its arguments; it begins in guest.Work
	Env    []string
	Dir    string // where the command begins instead of guest.Work
	// Host gives the guest the machine's files, beneath a layer in memory: nothing that it writes comes back. What the
	// caller may not read the guest cannot either.
	Host bool
	// Keep are directories of a Host that the guest sees, read-only, though they are below /run, where it has its own.
	Keep []string
	// Put are files and directories of the machine by their paths in the guest; with Host they are below guest.Work.
	Put map[string]string
	// Out gets what the command leaves in guest.Out; "" throws that away. It has to exist.
	Out            string
	Stdout, Stderr io.Writer
	Timeout        time.Duration // of the command with the boot; 0: DefaultTimeout
}

// DefaultTimeout bounds a guest's life where nothing is said.
const DefaultTimeout = 20 * time.Minute

// bootTimeout bounds the time until the command begins. It takes some 5 s on an idle machine.
const bootTimeout = 3 * time.Minute

// A guest's memory: of one program, and of a lab. The machine gives what the guest touches.
const (
	memoryMB    = 1536
	labMemoryMB = 3072
)

// Errors of Run.
var (
	ErrBoot    = errors.New("the guest did not boot")
	ErrDied    = errors.New("the guest died")
	ErrTimeout = errors.New("the guest took too long")
)

// Fetch returns the directories of QEMU and a kernel in the cache, and downloads what it lacks. tell may be nil.
func Fetch(ctx context.Context, cache debs.Cache, kernel Kernel, tell debs.Progress) (qemu, tree string, err error) {
	if qemu, err = cache.Tree(ctx, emulator(), tell); err != nil {
		return "", "", err
	}
	tree, err = cache.Tree(ctx, kernel.tree(), tell)
	return qemu, tree, err
}

// Run runs a command in a guest of its own and returns its exit code. It downloads what the cache lacks.
// An error, of one of the kinds above where the guest is at fault, has the end of its console. The guest
// ends with this process, however that ends; what such an end leaves on disk goes with the next Run.
func Run(ctx context.Context, cache debs.Cache, job Job, tell debs.Progress) (code int, err error) {
	if tell == nil {
		tell = func(string, int, int) {}
	}
	if err := job.static(); err != nil {
		return 0, err
	}
	qemu, kernel, err := Fetch(ctx, cache, job.Kernel, tell)
	if err != nil {
		return 0, err
	}
	dir, remove, err := scratch(cache.Dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	h := hardware{
		qemu: qemu, memoryMB: memoryMB, processors: 2, image: filepath.Join(kernel, imageName),
		initramfs: filepath.Join(dir, "initramfs"), share: filepath.Join(dir, "share"), host: job.Host,
	}
	if job.Host {
		h.memoryMB = labMemoryMB
	}
	if strings.Contains(dir, ",") {
		return 0, fmt.Errorf("%s: %w", dir, errOption)
	}
	if err := os.MkdirAll(filepath.Join(h.share, guest.OutDir), 0o700); err != nil {
		return 0, fmt.Errorf("make share: %w", err)
	}
	if err := job.writeInitramfs(h.initramfs, kernel); err != nil {
		return 0, err
	}
	for n := 1; ; n++ {
		tell("booting "+job.Kernel.describe(kernel), 0, 0)
		err := job.boot(ctx, h)
		if err == nil {
			return job.result(h.share)
		}
		if !errors.Is(err, errStalled) || n == boots {
			return 0, err
		}
	}
}

// boots is how often a guest is started that stalls while it boots.
const boots = 3

// errStalled says that the kernel waits for a timer that does not come. On a machine with more to do than it
// has processors for this happens to a guest's second processor in one boot of many, before the command begins.
var errStalled = fmt.Errorf("%w: its kernel stalled", ErrBoot)

// stalled says whether a console has what a kernel says of it (Linux Documentation/RCU/stallwarn.rst,
// Documentation/admin-guide/lockup-watchdogs.rst).
func stalled(console string) bool {
	return slices.ContainsFunc([]string{"detected stalls", "self-detected stall", "BUG: soft lockup"}, func(words string) bool {
		return strings.Contains(console, words)
	})
}

// describe is a kernel with its version as its tree has it.
func (k Kernel) describe(tree string) string {
	version, err := os.ReadFile(filepath.Join(tree, versionName))
	if err != nil {
		return "Linux " + k.Release
	}
	return "Linux " + strings.TrimSpace(string(version))
}

// writeInitramfs writes what the guest boots from.
func (j Job) writeInitramfs(file, kernel string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write initramfs: %w", err)
	}
	defer f.Close()
	job, err := json.Marshal(guest.Job{Argv: j.Argv, Env: j.Env, Dir: j.Dir, Host: j.Host, Keep: j.Keep})
	if err != nil {
		return fmt.Errorf("write job: %w", err)
	}
	a := newArchive(f)
	for _, dir := range []string{"dev", "bin", "etc", "work"} {
		a.dir(dir)
	}
	a.put(entry{name: "dev/console", mode: typeChar | 0o600, major: 5, minor: 1}, nil)
	a.file(j.Init, "init", 0o755)
	a.put(entry{name: strings.TrimPrefix(guest.JobFile, "/"), mode: typeFile | 0o600, size: int64(len(job))}, bytes.NewReader(job))
	a.tree(filepath.Join(kernel, modulesName), strings.TrimPrefix(guest.Modules, "/"))
	for to, from := range j.Put {
		a.tree(from, strings.TrimPrefix(filepath.Clean(to), "/"))
	}
	return a.end()
}

// boot runs QEMU until the guest has ended, and passes the command's output on.
func (j Job) boot(ctx context.Context, h hardware) error {
	timeout := j.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%w (%s)", ErrTimeout, timeout))
	defer cancel()
	argv, err := h.command()
	if err != nil {
		return err
	}
	console := &tail{}
	runtime.LockOSThread() // with the thread that started it the kernel would end QEMU
	defer runtime.UnlockOSThread()
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	cmd := exec.CommandContext(running, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = console, console
	cmd.Env = []string{"LC_ALL=C", "HOME=/", "TMPDIR=" + h.share}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start QEMU: %w", err)
	}
	ended := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		j.watch(h.share, console, ended, stop)
	}()
	err = cmd.Wait()
	close(ended)
	<-watched
	if cause := context.Cause(running); cause != nil {
		return fmt.Errorf("%w; the end of its console:\n%s", cause, console)
	}
	if _, serr := os.Stat(filepath.Join(h.share, guest.ExitFile)); serr == nil {
		return nil
	}
	kind := ErrBoot
	if _, serr := os.Stat(filepath.Join(h.share, guest.StartedFile)); serr == nil {
		kind = ErrDied
	}
	if err == nil {
		err = errors.New("it left no exit code")
	}
	return fmt.Errorf("%w: %w; the end of its console:\n%s", kind, err, console)
}

// watchEvery is how often a share is looked at: 9P tells nobody of changes.
const watchEvery = 50 * time.Millisecond

// watch passes a command's output on until its guest has ended, and stops one where it does not begin.
func (j Job) watch(share string, console *tail, ended <-chan struct{}, stop func(error)) {
	streams := []*stream{{file: filepath.Join(share, guest.StdoutFile), to: j.Stdout}, {file: filepath.Join(share, guest.StderrFile), to: j.Stderr}}
	pass := func() {
		for _, s := range streams {
			s.pass()
		}
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	boot := time.NewTimer(bootTimeout)
	defer boot.Stop()
	started := false
	for {
		select {
		case <-ended:
			pass()
			return
		case <-boot.C:
			if !started {
				stop(fmt.Errorf("%w in %s", ErrBoot, bootTimeout))
			}
		case <-tick.C:
			pass()
			if _, err := os.Stat(filepath.Join(share, guest.StartedFile)); err == nil {
				started = true
			}
			if !started && stalled(console.String()) {
				stop(errStalled)
			}
		}
	}
}

// stream is a file that grows, and where to its content goes.
type stream struct {
	file string
	to   io.Writer
	at   int64
}

// pass passes on what is new. A file that is not there yet has nothing new, and a reader that has gone wants nothing.
func (s *stream) pass() {
	f, err := os.Open(s.file)
	if err != nil || s.to == nil {
		return
	}
	defer f.Close()
	n, _ := io.Copy(s.to, io.NewSectionReader(f, s.at, 1<<62))
	s.at += n
}

// result reads how the command ended, and brings its files back.
func (j Job) result(share string) (int, error) {
	text, err := os.ReadFile(filepath.Join(share, guest.ExitFile))
	if err != nil {
		return 0, fmt.Errorf("read exit code: %w", err)
	}
	var exit guest.Exit
	if err := json.Unmarshal(text, &exit); err != nil {
		return 0, fmt.Errorf("read exit code: %w", err)
	}
	if exit.Error != "" {
		return 0, fmt.Errorf("run %s in the guest: %s", j.Argv[0], exit.Error)
	}
	if j.Out != "" {
		if err := replaceFS(j.Out, os.DirFS(filepath.Join(share, guest.OutDir))); err != nil {
			return 0, fmt.Errorf("bring files back: %w", err)
		}
	}
	return exit.Code, nil
}

// replaceFS copies files to a directory, in the place of those of an earlier run.
func replaceFS(dir string, files fs.FS) error {
	err := fs.WalkDir(files, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if err := os.Remove(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	return os.CopyFS(dir, files)
}
