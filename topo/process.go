package topo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/ctl"
)

const (
	// ProcessEnv marks the processes of labs: its value is STATEDIR/NAME.
	ProcessEnv = "SPKLAB_PROCESS"

	readyTimeout = 2 * time.Minute
	readyPoll    = 5 * time.Millisecond
	defaultGrace = 5 * time.Second
	killTimeout  = 5 * time.Second
	logTail      = 2048 // bytes of a log that go into an error
)

// token is what ProcessEnv holds for a process of the lab.
func (r *Runtime) token(name string) string { return filepath.Join(r.dir, name) }

// Pids lists the processes that carry the mark of a process of the lab; empty when it has ended.
func (r *Runtime) Pids(process string) []int { return findProcesses(r.token(process)) }

// Processes are the lab's processes by their names, from one look at all processes of the machine.
func (r *Runtime) Processes() map[string][]int {
	out := map[string][]int{}
	for _, pid := range everyProcess() {
		for _, mark := range marks(pid) {
			if name, ok := strings.CutPrefix(mark, r.dir+"/"); ok {
				out[name] = append(out[name], pid)
			}
		}
	}
	return out
}

// Kill ends a process of the lab at once, as a crash would. One that has ended is killed.
func (r *Runtime) Kill(ctx context.Context, process string) error {
	token := r.token(process)
	for deadline := time.Now().Add(killTimeout); len(findProcesses(token)) > 0; {
		if err := signalAll(token, syscall.SIGKILL, deadline); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("process %s does not end after SIGKILL", process)
		}
	}
	return nil
}

// Stop ends a process of the lab as undoing its step would, with a grace period of its own between
// SIGTERM and SIGKILL (0 = 5 seconds). One that has ended is stopped.
func (r *Runtime) Stop(ctx context.Context, process string, graceSeconds int) error {
	return stopProcesses(ctx, r.token(process), graceSeconds)
}

// LogPath is the file that a process of the lab writes its output to.
func (r *Runtime) LogPath(process string) string { return filepath.Join(r.dir, "log", process+".log") }

// makeProcess starts the process in its namespace and waits until it is ready.
func (r *Runtime) makeProcess(ctx context.Context, p *ProcessStep) error {
	logPath := r.LogPath(p.Name)
	if err := os.MkdirAll(filepath.Dir(logPath), 0o700); err != nil {
		return fmt.Errorf("make log directory: %w", err)
	}
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(p.Argv[0], p.Argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), ProcessEnv + "=" + r.token(p.Name)}, p.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := Start(p.Netns, cmd); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if p.Ready == "" {
		return nil
	}
	return awaitReady(ctx, p.Ready, ended, logPath)
}

// awaitReady polls the control socket until the process says it is ready, ends, or time is up.
func awaitReady(ctx context.Context, socket string, ended <-chan error, logPath string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		err := ctl.Get(ctx, socket, ctl.PathReady, nil)
		if err == nil {
			return nil
		}
		select {
		case state := <-ended:
			return fmt.Errorf("ended before it was ready (%v); its log ends with:\n%s", status(state), tail(logPath))
		case <-ctx.Done():
			return fmt.Errorf("not ready after %s: %w; its log ends with:\n%s", readyTimeout, err, tail(logPath))
		case <-tick.C:
		}
	}
}

func status(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// tail is the end of a log.
func tail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if fi, err := f.Stat(); err == nil && fi.Size() > logTail {
		if _, err := f.Seek(-logTail, io.SeekEnd); err != nil {
			return err.Error()
		}
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(data))
}

// findProcesses lists the processes whose mark is token, or begins with it where it ends in a
// slash. A process that ends meanwhile is not listed.
func findProcesses(token string) []int {
	var pids []int
	for _, pid := range everyProcess() {
		if marked(pid, token) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// everyProcess lists the machine's processes.
func everyProcess() []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// marked says whether a process carries the mark.
func marked(pid int, token string) bool {
	return slices.ContainsFunc(marks(pid), func(mark string) bool {
		return mark == token || strings.HasSuffix(token, "/") && strings.HasPrefix(mark, token)
	})
}

// marks are a process's marks, one at most unless somebody played tricks. A zombie has no
// environment any more.
func marks(pid int) []string {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil || !bytes.Contains(env, []byte(ProcessEnv+"=")) {
		return nil
	}
	var out []string
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if mark, ok := bytes.CutPrefix(v, []byte(ProcessEnv+"=")); ok {
			out = append(out, string(mark))
		}
	}
	return out
}

// stopProcesses ends the marked processes: SIGTERM, the grace period (0 = the default), SIGKILL.
// It returns when they are gone. A process that starts others meanwhile is followed.
func stopProcesses(ctx context.Context, token string, graceSeconds int) error {
	grace := defaultGrace
	if graceSeconds > 0 {
		grace = time.Duration(graceSeconds) * time.Second
	}
	deadline := time.Now().Add(grace)
	for sig := syscall.SIGTERM; ; sig = syscall.SIGKILL {
		if err := signalAll(token, sig, deadline); err != nil {
			return err
		}
		if len(findProcesses(token)) == 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if sig == syscall.SIGKILL && time.Now().After(deadline) {
			return fmt.Errorf("processes %v do not end after SIGKILL", findProcesses(token))
		}
		deadline = time.Now().Add(killTimeout)
	}
}

// signalAll signals every marked process and waits until each has ended or the deadline passes.
// Pid files cannot name a stranger: the mark is read again after the pidfd is open.
func signalAll(token string, sig syscall.Signal, deadline time.Time) error {
	var fds []int
	defer func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}()
	for _, pid := range findProcesses(token) {
		fd, err := unix.PidfdOpen(pid, 0)
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return fmt.Errorf("open process %d: %w", pid, err)
		}
		fds = append(fds, fd)
		if !marked(pid, token) {
			continue
		}
		if err := ignore(unix.PidfdSendSignal(fd, sig, nil, 0), unix.ESRCH); err != nil {
			return fmt.Errorf("signal process %d: %w", pid, err)
		}
	}
	for _, fd := range fds {
		awaitEnd(fd, deadline)
	}
	return nil
}

// awaitEnd waits until the process behind the pidfd ends or the deadline passes.
func awaitEnd(fd int, deadline time.Time) {
	for {
		left := time.Until(deadline).Milliseconds()
		if left <= 0 {
			return
		}
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, int(left))
		if n > 0 || (err != nil && !errors.Is(err, unix.EINTR)) {
			return
		}
	}
}
