package record_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/scenarios/record"
	"github.com/spklab/spklab/scenarios/report"
)

// fullDisk is set for the process that may mount: the size of its file system in octets.
const fullDisk = "SPKLAB_TEST_DISK"

// tooSmall is a disk that no report fits on.
const tooSmall = 24 << 10

// TestFullDisk has the collector write to file systems of a few sizes, in a mount namespace of its
// own, with a stream that takes more. Where there is room for a report there is one that says what is
// missing; where there is none, the collector says so.
func TestFullDisk(t *testing.T) {
	if size, err := strconv.Atoi(os.Getenv(fullDisk)); err == nil {
		writeToFullDisk(t, size)
		return
	}
	roottest.Need(t)
	for _, size := range []int{tooSmall, 160 << 10, 700 << 10, 8 << 20} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
			cmd.Env = append(os.Environ(), fullDisk+"="+strconv.Itoa(size))
			cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
			out, err := cmd.CombinedOutput()
			t.Logf("%s", out)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// writeToFullDisk runs in the mount namespace.
func writeToFullDisk(t *testing.T, size int) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,nr_inodes=100", size)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }) // it goes with the namespace
	records := slices.Insert(stream(), 5, record.Record{Kind: record.Showed, Evidence: &report.Evidence{Title: "big", Text: strings.Repeat("x", 500<<10)}})
	c := &record.Collector{Dir: dir, Sources: []record.Source{&fake{name: "a"}}}
	err := c.Run(t.Context(), bytes.NewReader(encode(t, records)), io.Discard)
	if size == tooSmall {
		if err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("on a full disk: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	run := load(t, dir)
	if got := run.Counts().String(); got != "1 passed, 1 failed" {
		t.Errorf("the report says %s", got)
	}
	var gaps []string
	for _, g := range run.Gaps {
		gaps = append(gaps, g.Collector)
	}
	t.Logf("gaps %q", gaps)
	lean := slices.Contains(gaps, "evidence")
	if whole := len(run.Scenarios[0].Evidence) == 1; whole == lean {
		t.Errorf("the evidence is there: %v; the report says that it is not: %v", whole, lean)
	}
	if size < 4<<20 && len(gaps) == 0 {
		t.Error("nothing is missing on a small disk")
	}
	if size > 4<<20 && lean {
		t.Error("evidence is missing on a disk with room")
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
