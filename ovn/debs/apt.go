package debs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// downloadTimeout bounds one call of apt-get.
const downloadTimeout = 10 * time.Minute

// apt is APT with lists, sources and a cache of its own. Of the machine's configuration it keeps
// what says how to reach the archive, such as proxies and credentials.
type apt struct {
	dir  string // where everything of its own stands
	tell Progress
}

// newAPT prepares APT for the suites of a mirror, with spaces between them.
func newAPT(dir, mirror, suite string, tell Progress) (apt, error) {
	a := apt{dir: dir, tell: tell}
	for _, d := range []string{"lists/partial", "archives/partial", "sources.list.d", "empty", "debs"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return a, fmt.Errorf("make directory for APT: %w", err)
		}
	}
	for name, text := range map[string]string{"apt.conf": a.config(), "status": "", "sources.list.d/debian.sources": sources(mirror, suite)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return a, fmt.Errorf("configure APT: %w", err)
		}
	}
	return a, nil
}

// sources is the one entry of sources.list(5): packages count only with Debian's signatures.
func sources(mirror, suite string) string {
	return fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n", mirror, suite, keyring)
}

// config is read after the machine's own (apt.conf(5)), so that it has the last word: no hooks, no
// other sources or pins, nothing without a signature. The files are the caller's alone, so the
// methods run as the caller.
func (a apt) config() string {
	var b strings.Builder
	for _, list := range []string{"APT::Update::Pre-Invoke", "APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success", "Acquire::IndexTargets::deb::DEP-11"} {
		fmt.Fprintf(&b, "#clear %s;\n", list)
	}
	for _, kv := range [][2]string{
		{"Dir::State", a.dir}, {"Dir::State::lists", filepath.Join(a.dir, "lists")}, {"Dir::State::status", filepath.Join(a.dir, "status")},
		{"Dir::Cache", a.dir}, {"Dir::Cache::archives", filepath.Join(a.dir, "archives")},
		{"Dir::Etc::sourcelist", "/dev/null"}, {"Dir::Etc::sourceparts", filepath.Join(a.dir, "sources.list.d")},
		{"Dir::Etc::preferences", "/dev/null"}, {"Dir::Etc::preferencesparts", filepath.Join(a.dir, "empty")},
		{"Dir::Etc::trusted", "/dev/null"}, {"Dir::Etc::trustedparts", filepath.Join(a.dir, "empty")},
		{"APT::Sandbox::User", "root"}, {"APT::Get::AllowUnauthenticated", "false"},
		{"Acquire::AllowInsecureRepositories", "false"}, {"Acquire::AllowWeakRepositories", "false"},
		{"APT::Update::Error-Mode", "any"}, {"APT::Status-Fd", "3"}, // see get
		{"Acquire::Languages", "none"}, {"Acquire::Retries", "2"}, {"Acquire::http::Timeout", "30"},
	} {
		fmt.Fprintf(&b, "%s %q;\n", kv[0], kv[1])
	}
	return b.String()
}

// download puts the packages' files into the directory debs.
func (a apt) download(ctx context.Context, names []string) error {
	if err := a.get(ctx, "lists of packages", "update"); err != nil {
		return err
	}
	return a.get(ctx, "packages", append([]string{"download"}, names...)...)
}

// downloadAll puts the files of packages and of all that they depend on into the directory archives, those
// of the suite first where others have them too.
func (a apt) downloadAll(ctx context.Context, suite string, names []string) error {
	if err := a.get(ctx, "lists of packages", "update"); err != nil {
		return err
	}
	return a.get(ctx, "packages", append([]string{"install", "--yes", "--no-install-recommends", "--download-only", "--target-release", suite}, names...)...)
}

// get runs apt-get and tells how far it is. It does not outlive this process.
func (a apt) get(ctx context.Context, what string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, downloadTimeout)
	defer cancel()
	runtime.LockOSThread() // with the thread that started it the kernel would end apt-get
	defer runtime.UnlockOSThread()
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	defer r.Close()
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-c", filepath.Join(a.dir, "apt.conf"), "-q"}, args...)...)
	cmd.Dir = filepath.Join(a.dir, "debs")
	cmd.Env = append(os.Environ(), "LC_ALL=C", "APT_CONFIG=")
	cmd.ExtraFiles = []*os.File{w} // descriptor 3
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("start apt-get: %w", err), w.Close())
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("close pipe: %w", err)
	}
	a.follow(r, what)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("apt-get %s: %w: %s", args[0], err, strings.TrimSpace(errs.String()))
	}
	return nil
}

// follow passes apt-get's progress on until it ends.
func (a apt) follow(r io.Reader, what string) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if percent, ok := progress(lines.Text()); ok {
			a.tell("downloading "+what+", percent", percent, 100)
		}
	}
}

// progress reads a line such as "dlstatus:1:23.4567:Retrieving file 1 of 3".
func progress(line string) (percent int, ok bool) {
	fields := strings.SplitN(line, ":", 4)
	if len(fields) < 4 || fields[0] != "dlstatus" {
		return 0, false
	}
	f, err := strconv.ParseFloat(fields[2], 64)
	return int(f), err == nil && f >= 0 && f <= 100
}

// ownMirror is where the machine gets its own Debian release from.
func ownMirror(ctx context.Context, codename string) (string, error) {
	cmd := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(CREATED_BY) $(RELEASE) $(COMPONENT) $(REPO_URI)")
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("read APT's sources: %w", err)
	}
	if mirror, ok := mirrorOf(string(out), codename); ok {
		return mirror, nil
	}
	return "", fmt.Errorf("%w: APT has no source of Debian's own archive (%s main): add one to /etc/apt/sources.list.d", ErrUnsupported, codename)
}

// mirrorOf finds the archive of a release among lines "KIND RELEASE COMPONENT URI".
func mirrorOf(targets, codename string) (string, bool) {
	for line := range strings.Lines(targets) {
		f := strings.Fields(line)
		if len(f) == 4 && f[0] == "Packages" && f[2] == "main" && (f[1] == codename || f[1] == "stable" || f[1] == "oldstable") {
			return f[3], true
		}
	}
	return "", false
}
