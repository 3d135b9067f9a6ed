package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/topo"
)

// process is a running process of a lab with what is needed to start it again.
type process struct {
	mark  string // SPKLAB_PROCESS
	pid   int
	began uint64 // in ticks since boot
	argv  []string
	env   []string
}

// find is the process that carries the mark; the first of them, where it has others run for it.
func find(t *testing.T, mark string) process {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	first := process{mark: mark}
	for _, dir := range dirs {
		environ, eerr := os.ReadFile(filepath.Join(dir, "environ"))
		cmdline, cerr := os.ReadFile(filepath.Join(dir, "cmdline"))
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			t.Fatal(err)
		}
		began := started(pid)
		env := words(environ)
		if eerr != nil || cerr != nil || began == 0 || !slices.Contains(env, "SPKLAB_PROCESS="+mark) {
			continue // another one, or it has ended
		}
		if first.began == 0 || began < first.began {
			first.pid, first.began, first.argv, first.env = pid, began, words(cmdline), env
		}
	}
	if first.began == 0 {
		t.Fatalf("no process carries %s", mark)
	}
	return first
}

// words are what a file of /proc holds, each with a zero byte at its end.
func words(raw []byte) []string {
	return strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00")
}

// started is when a process started, in ticks since boot; 0 of one that has ended.
func started(pid int) uint64 {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // from the third on, see proc_pid_stat(5)
	at, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil || fields[0] == "Z" {
		return 0 // ended; its parent has not asked yet
	}
	return at
}

// end sends the process a signal and waits until it has ended.
func (p process) end(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(p.pid, signal); err != nil {
		t.Fatalf("%s: %v", p.mark, err)
	}
	for deadline := time.Now().Add(20 * time.Second); started(p.pid) == p.began; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not end", p.mark)
		}
	}
}

// replace kills the process and starts another with the same mark, in the same namespace, and
// waits until that does its work.
func (p process) replace(t *testing.T, argv []string) process {
	t.Helper()
	out, err := exec.Command("ip", "netns", "identify", strconv.Itoa(p.pid)).Output()
	if err != nil {
		t.Fatal(err)
	}
	p.end(t, syscall.SIGTERM)
	socket := ""
	for i, a := range argv {
		if a == "--ctl" && i+1 < len(argv) {
			socket = argv[i+1]
		}
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = p.env
	if err := topo.Start(strings.TrimSpace(string(out)), cmd); err != nil { // ip netns exec would hide the pins
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }() // collect it whenever it ends
	for deadline := time.Now().Add(20 * time.Second); ctl.Get(context.Background(), socket, ctl.PathReady, nil) != nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%v does not become ready", argv)
		}
	}
	return find(t, p.mark)
}
