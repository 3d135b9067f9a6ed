package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/roottest"
)

// growthFile says how large the programs are, and how much work they make the verifier.
const growthFile = "testdata/growth.golden"

// growthLimit is how much a figure may grow before somebody has to look at it, in per cent.
const growthLimit = 5

// effort is what a program costs. All but Instructions depend on the kernel.
type effort struct {
	Instructions int // in the object
	Verified     int // instructions that the verifier walked
	States       int // that it kept in all
	Peak         int // that it kept at one time
}

func (e effort) String() string {
	return fmt.Sprintf("instructions %d verified %d states %d peak %d", e.Instructions, e.Verified, e.States, e.Peak)
}

// verifierStats is the verifier's summary (kernel/bpf/verifier.c, print_verification_stats).
var verifierStats = regexp.MustCompile(`processed (\d+) insns .* total_states (\d+) peak_states (\d+)`)

// TestGrowth watches the size of each program and the work of verifying it: what grows by more
// than a twentieth fails until the file is rewritten with -update, and the reason told.
func TestGrowth(t *testing.T) {
	roottest.Need(t)
	got := map[string]effort{}
	for front, load := range map[string]func() (*ebpf.CollectionSpec, error){"tc": LoadSpk, "xdp": LoadSpkXDP} {
		for name, e := range measure(t, load) {
			got[front+" "+name] = e
		}
	}
	kernel := kernelSeries(t)
	if *update {
		writeGrowth(t, kernel, got)
	}
	of, want := readGrowth(t)
	if of != kernel {
		t.Logf("%s is of Linux %s, this is %s: the verifier's figures are not compared", growthFile, of, kernel)
	}
	for name, e := range got {
		t.Run(name, func(t *testing.T) {
			w, ok := want[name]
			if !ok {
				t.Fatalf("not in %s: %s", growthFile, e)
			}
			for _, fault := range grown(w, e, of == kernel) {
				t.Error(fault)
			}
		})
	}
	for name := range want {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is in %s and not in the objects", name, growthFile)
		}
	}
}

// grown lists what has grown by more than the limit.
func grown(want, got effort, sameKernel bool) []string {
	var faults []string
	for _, f := range []struct {
		what      string
		want, got int
		compared  bool
	}{
		{"instructions", want.Instructions, got.Instructions, true},
		{"verified instructions", want.Verified, got.Verified, sameKernel},
		{"states", want.States, got.States, sameKernel},
		{"peak states", want.Peak, got.Peak, sameKernel},
	} {
		if f.compared && f.got*100 > f.want*(100+growthLimit) {
			faults = append(faults, fmt.Sprintf("%s: %d, were %d: more than %d %% (-update, and say why)", f.what, f.got, f.want, growthLimit))
		}
	}
	return faults
}

func TestGrown(t *testing.T) {
	was := effort{Instructions: 100, Verified: 1000, States: 20, Peak: 20}
	for _, tt := range []struct {
		name       string
		now        effort
		sameKernel bool
		faults     int
	}{
		{"the same", was, true, 0},
		{"smaller", effort{50, 500, 10, 10}, true, 0},
		{"a twentieth", effort{105, 1050, 21, 21}, true, 0},
		{"instructions", effort{106, 1000, 20, 20}, true, 1},
		{"all", effort{106, 1051, 22, 22}, true, 4},
		{"all, on another kernel", effort{106, 1051, 22, 22}, false, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := grown(was, tt.now, tt.sameKernel); len(got) != tt.faults {
				t.Errorf("%d faults, want %d: %v", len(got), tt.faults, got)
			}
		})
	}
}

// measure loads an object and reads what the verifier says of its programs.
func measure(t *testing.T, load func() (*ebpf.CollectionSpec, error)) map[string]effort {
	t.Helper()
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	spec, err := load()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range spec.Maps {
		if m.Type == ebpf.Hash || m.Type == ebpf.LRUHash {
			m.MaxEntries = 64 // nothing to the verifier, and memory to the machine
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats}})
	var fault *ebpf.VerifierError
	if errors.As(err, &fault) {
		t.Fatalf("%+v", fault)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer coll.Close()
	out := map[string]effort{}
	for name, p := range coll.Programs {
		var e effort
		m := verifierStats.FindStringSubmatch(p.VerifierLog)
		if m == nil {
			t.Fatalf("%s: no summary in the verifier's log %q", name, p.VerifierLog)
		}
		if _, err := fmt.Sscan(strings.Join(m[1:], " "), &e.Verified, &e.States, &e.Peak); err != nil {
			t.Fatal(err)
		}
		e.Instructions = int(spec.Programs[name].Instructions.Size()) / 8
		out[name] = e
	}
	return out
}

// kernelSeries is major and minor number: the verifier changes from one to the next.
func kernelSeries(t *testing.T) string {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	parts := strings.SplitN(unix.ByteSliceToString(u.Release[:]), ".", 3)
	return strings.Join(parts[:2], ".")
}

func writeGrowth(t *testing.T, kernel string, of map[string]effort) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "# Linux %s; rewritten by: go test ./dataplane/bpf -run TestGrowth -update\n", kernel)
	for _, name := range slices.Sorted(maps.Keys(of)) {
		fmt.Fprintf(&b, "%s: %s\n", name, of[name])
	}
	if err := os.WriteFile(growthFile, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readGrowth(t *testing.T) (kernel string, of map[string]effort) {
	t.Helper()
	f, err := os.Open(growthFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	of = map[string]effort{}
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "# Linux "); ok {
			kernel, _, _ = strings.Cut(rest, ";")
			continue
		}
		name, rest, _ := strings.Cut(s.Text(), ": ")
		var e effort
		if _, err := fmt.Sscanf(rest, "instructions %d verified %d states %d peak %d", &e.Instructions, &e.Verified, &e.States, &e.Peak); err != nil {
			t.Fatalf("%s: %q: %v", growthFile, s.Text(), err)
		}
		of[name] = e
	}
	return kernel, of
}
