package sriov

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spklab/spklab/ovn/debs"
	"github.com/spklab/spklab/vm"
)

// TestGuest is `make e2e-sriov`: the checks pass in a virtual machine, and their reports come back.
func TestGuest(t *testing.T) {
	if os.Getenv(envWhere) != onMachine {
		t.Skip("make e2e-sriov runs it")
	}
	began := time.Now()
	bin, out := t.TempDir(), t.TempDir()
	if dir := os.Getenv("ARTIFACTS"); dir != "" {
		out = dir
	}
	program := filepath.Join(bin, "sriov.test")
	prepare(t, bin, program)
	built := time.Since(began)
	cmd := exec.Command(filepath.Join(bin, "spklab"), "vm", "--host", "--kernel", vm.DefaultKernel, "--program", program,
		"--env", envWhere+"="+inGuest, "--env", "CI=true", "--env", envBin+"="+bin, "--artifacts", out, "--timeout", "20m",
		"--", "-test.v", "-test.timeout", "18m")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("in the guest: %v\n%s%s", err, stdout.String(), stderr.String())
	}
	checks, err := os.ReadFile(filepath.Join(out, tableFile))
	if err != nil {
		t.Fatalf("no report came back: %v", err)
	}
	if _, err := os.Stat(filepath.Join(out, junitFile)); err != nil {
		t.Errorf("no report came back: %v", err)
	}
	t.Logf("built and downloaded in %.0f s, ran in %.0f s with boot\n%s", built.Seconds(), time.Since(began.Add(built)).Seconds(), checks)
}

// envBin says where the guest has spklab and spkproxy.
const envBin = "SPKLAB_BIN"

// prepare builds the guest's programs while what the cache lacks of QEMU and the kernel is downloaded.
func prepare(t *testing.T, bin, program string) {
	t.Helper()
	cache, err := debs.DefaultCache()
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := vm.KernelOf(vm.DefaultKernel)
	if err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	g.Go(func() error {
		_, _, err := vm.Fetch(t.Context(), cache, kernel, nil)
		return err
	})
	g.Go(func() error {
		return errors.Join(
			build("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin+"/", "../../cmd/spklab", "../../cmd/spkproxy"),
			build("go", "test", "-c", "-trimpath", "-ldflags", "-s -w", "-o", program, "."))
	})
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// build runs the Go tool for programs that need no library of the machine's.
func build(argv ...string) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", argv, err, out)
	}
	return nil
}
