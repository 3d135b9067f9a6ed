package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
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
	mark string // SPKLAB_PROCESS
	pid  int
	argv []string
	env  []string
}

// find is the process that carries the mark.
func find(t *testing.T, mark string) process {
	t.Helper()
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range environs {
		raw, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		env := strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00")
		for _, e := range env {
			if e != "SPKLAB_PROCESS="+mark {
				continue
			}
			dir := filepath.Dir(f)
			cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(filepath.Base(dir))
			if err != nil {
				t.Fatal(err)
			}
			return process{mark, pid, strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00"), env}
		}
	}
	t.Fatalf("no process carries %s", mark)
	return process{}
}

// replace kills the process and starts another with the same mark, in the same namespace, and
// waits until that does its work.
func (p process) replace(t *testing.T, argv []string) process {
	t.Helper()
	out, err := exec.Command("ip", "netns", "identify", strconv.Itoa(p.pid)).Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(p.pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for syscall.Kill(p.pid, 0) == nil {
		if stat, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/stat"); err == nil && bytes.Contains(stat, []byte(") Z ")) {
			break // ended; its parent has not asked yet
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not end", p.mark)
		}
		time.Sleep(5 * time.Millisecond)
	}
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
	for ctl.Get(context.Background(), socket, ctl.PathReady, nil) != nil {
		if time.Now().After(deadline.Add(10 * time.Second)) {
			t.Fatalf("%v does not become ready", argv)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return find(t, p.mark)
}
