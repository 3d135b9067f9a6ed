// Package browser tests pages in Debian's Chromium: scripts for Playwright, whose checks become
// subtests of a Go test. It uses Debian's browser and downloads none; `make browser` installs the
// two npm packages that the lock file names.
package browser

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// Chromium is the browser.
const Chromium = "/usr/bin/chromium"

// patience is how long a script may take.
const patience = 5 * time.Minute

// outcome is a line that a script writes for each of its checks.
type outcome struct {
	Name    string  `json:"name"`
	Error   string  `json:"error"`
	Note    string  `json:"note"`
	Seconds float64 `json:"seconds"`
}

// Run runs a script, a file beside the test that imports page.mjs of this package, with arguments of
// its own. Each of its checks becomes a subtest. Where something that it needs is missing the test is
// skipped and says what; with CI=true it fails.
func Run(t *testing.T, script string, args ...string) {
	t.Helper()
	node := need(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, append([]string{script}, args...)...)
	cmd.Env = append(os.Environ(), "CHROMIUM="+Chromium, "HOME="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	checks := 0
	for scan := bufio.NewScanner(bytes.NewReader(out)); scan.Scan(); checks++ {
		var o outcome
		if err := json.Unmarshal(scan.Bytes(), &o); err != nil {
			t.Fatalf("%s wrote %q: %v", script, scan.Text(), err)
		}
		t.Run(o.Name, func(t *testing.T) {
			t.Logf("%.1f s %s", o.Seconds, o.Note)
			if o.Error != "" {
				t.Error(o.Error)
			}
		})
	}
	if err != nil {
		t.Errorf("%s: %v\n%s", script, err, stderr.String())
	}
	if checks == 0 {
		t.Errorf("%s checked nothing", script)
	}
}

// need finds node, the browser and the npm packages.
func need(t *testing.T) (node string) {
	t.Helper()
	node, err := exec.LookPath("node")
	_, here, _, _ := runtime.Caller(0)
	for _, file := range []string{Chromium, filepath.Join(filepath.Dir(here), "node_modules", "playwright-core")} {
		_, missing := os.Stat(file)
		err = errors.Join(err, missing)
	}
	if err == nil {
		return node
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("the tests in the browser need nodejs, chromium and what make browser installs: %v", err)
	}
	t.Skipf("the tests in the browser need nodejs, chromium and what make browser installs: %v", err)
	return ""
}
