package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/vm"
)

// kernelRun is what the eBPF programs did on a kernel.
type kernelRun struct {
	Kernel  string  `json:"kernel"`  // 6.1
	Version string  `json:"version"` // of Debian's package
	Seconds float64 `json:"seconds"` // of the guest, from its boot to its end
	// Tests has the counts by test of the dataplane and front end, such as "TestPackets/tc".
	Tests map[string]cases `json:"tests"`
	// Refused is what the kernel says of the programs that it does not load.
	Refused map[string]string `json:"refused,omitempty"`
}

// cases counts them.
type cases struct {
	Passed int `json:"passed"`
	Failed int `json:"failed,omitempty"`
}

func (t cases) String() string {
	if t.Failed > 0 {
		return fmt.Sprintf("%d of %d", t.Passed, t.Passed+t.Failed)
	}
	return fmt.Sprint(t.Passed)
}

// holds says that the kernel loads every program and every case passes.
func (r kernelRun) holds() bool {
	for _, t := range r.Tests {
		if t.Failed > 0 {
			return false
		}
	}
	return len(r.Refused) == 0 && len(r.Tests) > 0
}

// Files that the runs on all kernels are kept in.
const (
	kernelsFile = "testdata/kernels.json"
	kernelsPage = "../docs/kernels.md"
	readme      = "../README.md"
)

// kernelTests are the tests of the dataplane that run on each kernel: every program by itself, then
// the tables of packets. Of those are left out which change the dataplane's state for each case, since
// they take minutes without acceleration.
const (
	kernelTests = "^(TestLoad|TestPackets|TestTaggedPackets|TestFlows|TestVerdicts)$"
	kernelSkips = "^TestPackets$/./^(down_actions|balance|SNAT_pools)$"
)

// kernelTimeout bounds one guest.
const kernelTimeout = 30 * time.Minute

// oldest is the first kernel that is supported. Older ones can be run in a guest, but load no program.
const oldest = "6.1"

// supported are the kernels that everything has to hold on.
func supported() []vm.Kernel {
	all := vm.Kernels()
	return all[slices.IndexFunc(all, func(k vm.Kernel) bool { return k.Release == oldest }):]
}

// envKernels is set where TestKernels is to run: to "update" where it writes what it saw. With envOnly, the releases of
// some kernels, it runs on those alone.
const (
	envKernels = "SPKLAB_KERNELS"
	envOnly    = "SPKLAB_KERNELS_ONLY"
)

// TestKernels is `make e2e-kernels`: on each kernel in a virtual machine the programs load and the tables of
// packets pass, or what does not is what is known.
func TestKernels(t *testing.T) {
	roottest.Need(t)
	mode := os.Getenv(envKernels)
	if mode == "" {
		t.Skip("make e2e-kernels runs it")
	}
	program := filepath.Join(t.TempDir(), "dataplane.test")
	build := exec.Command("go", "test", "-c", "-trimpath", "-o", program, "../dataplane")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the dataplane's tests: %v\n%s", err, out)
	}
	known := loadKernels(t)
	var seen []kernelRun
	for _, k := range supported() {
		if only := os.Getenv(envOnly); only == "" || slices.Contains(strings.Fields(only), k.Release) {
			seen = append(seen, onKernel(t, k.Release, program))
		} else if i := slices.IndexFunc(known, func(r kernelRun) bool { return r.Kernel == k.Release }); i >= 0 {
			seen = append(seen, known[i])
		}
	}
	t.Logf("\n%s", kernelTable(seen))
	for _, r := range seen {
		if !r.holds() {
			t.Errorf("Linux %s: not every program loads, or a packet table fails", r.Kernel)
		}
	}
	if mode == "update" {
		saveKernels(t, seen)
		return
	}
	if diff := cmp.Diff(lasting(known), lasting(seen)); diff != "" {
		t.Errorf("not what %s says (-want +got); make e2e-kernels SPKLAB_KERNELS=update writes it anew:\n%s", kernelsFile, diff)
	}
}

// lasting are runs without what differs from day to day.
func lasting(runs []kernelRun) []kernelRun {
	out := slices.Clone(runs)
	for i := range out {
		out[i].Version, out[i].Seconds = "", 0
	}
	return out
}

// onKernel runs the dataplane's tests on a kernel.
func onKernel(t *testing.T, kernel, program string) kernelRun {
	t.Helper()
	run := kernelRun{Kernel: kernel}
	began := time.Now()
	cmd := command(t.Context(), "vm", "--kernel", kernel, "--program", program, "--timeout", kernelTimeout.String(),
		"--env", "CI=true", "--", "-test.v", "-test.run", kernelTests, "-test.skip", kernelSkips)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Fatalf("Linux %s: %v\n%s", kernel, err, errs.String())
	}
	run.Seconds = time.Since(began).Round(time.Second).Seconds()
	if m := regexp.MustCompile(`booting Linux (\S+)`).FindStringSubmatch(errs.String()); m != nil {
		run.Version = m[1]
	}
	run.Tests, run.Refused = readTests(out.String())
	if len(run.Tests) == 0 {
		t.Fatalf("Linux %s: no test ran:\n%s", kernel, out.String())
	}
	return run
}

// result is a line of `go test -v`.
func result() *regexp.Regexp { return regexp.MustCompile(`(?m)^ *--- (PASS|FAIL|SKIP): (\S+) \(`) }

// readTests counts the cases in the output of `go test -v`, and finds what is said of refused programs. A case
// is a test without subtests.
func readTests(out string) (map[string]cases, map[string]string) {
	all := result().FindAllStringSubmatch(out, -1)
	parents := map[string]bool{}
	for _, m := range all {
		for i, c := range m[2] {
			if c == '/' {
				parents[m[2][:i]] = true
			}
		}
	}
	tests, refused := map[string]cases{}, map[string]string{}
	for _, m := range all {
		if parents[m[2]] || m[1] == "SKIP" {
			continue
		}
		name := subject(m[2])
		n := tests[name]
		if m[1] == "PASS" {
			n.Passed++
		} else {
			n.Failed++
		}
		tests[name] = n
		if program, ok := strings.CutPrefix(m[2], "TestLoad/"); ok && m[1] == "FAIL" {
			refused[program] = said(out, m[2])
		}
	}
	if len(refused) == 0 {
		return tests, nil
	}
	return tests, refused
}

// subject is the test that a case belongs to, with its front end where it has one.
func subject(name string) string {
	test, rest, _ := strings.Cut(name, "/")
	if front, _, _ := strings.Cut(rest, "/"); front == "tc" || front == "xdp" {
		return test + "/" + front
	}
	return test
}

// omitted is what is said of a verifier's log that is longer than what is shown.
func omitted() *regexp.Regexp { return regexp.MustCompile(` \(\d+ line\(s\) omitted\)$`) }

// said is what a test said last before another one began.
func said(out, test string) string {
	_, rest, _ := strings.Cut(out, "=== RUN   "+test+"\n")
	rest, _, _ = strings.Cut(rest, "=== RUN")
	rest, _, _ = strings.Cut(rest, "--- FAIL")
	_, words, _ := strings.Cut(strings.TrimSpace(rest), ": ")
	return omitted().ReplaceAllString(strings.Join(strings.Fields(words), " "), "")
}

// kernelTable is the table kernel × programs × tests in Markdown, and what was refused.
func kernelTable(runs []kernelRun) string {
	columns := []struct{ name, title string }{
		{"TestLoad/tc", "programs at traffic control"}, {"TestLoad/xdp", "at XDP"},
		{"TestPackets/tc", "packet tables, traffic control"}, {"TestPackets/xdp", "XDP"}, {"TestTaggedPackets", "tagged"},
		{"TestFlows", "flows"}, {"TestVerdicts", "verdicts"},
	}
	var b, rule strings.Builder
	b.WriteString("| Linux | Debian's |")
	rule.WriteString("|---|---|")
	for _, c := range columns {
		fmt.Fprintf(&b, " %s |", c.title)
		rule.WriteString("--:|")
	}
	fmt.Fprintf(&b, " seconds |\n%s--:|\n", rule.String())
	for _, r := range runs {
		fmt.Fprintf(&b, "| %s | %s |", r.Kernel, r.Version)
		for _, c := range columns {
			fmt.Fprintf(&b, " %s |", r.Tests[c.name])
		}
		fmt.Fprintf(&b, " %.0f |\n", r.Seconds)
	}
	for _, r := range runs {
		by := map[string][]string{}
		for program, words := range r.Refused {
			by[words] = append(by[words], program)
		}
		for _, words := range sortedKeys(by) {
			slices.Sort(by[words])
			fmt.Fprintf(&b, "\nLinux %s refuses %s: `%s`\n", r.Kernel, strings.Join(by[words], ", "), words)
		}
	}
	return b.String()
}

func sortedKeys(m map[string][]string) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// readmeStatement is what the README says of kernels.
func readmeStatement(runs []kernelRun) string {
	return kernelsBegin + kernelStatement(runs) + " ([which and why](docs/kernels.md))." + kernelsEnd
}

// kernelStatement says on which kernels everything holds.
func kernelStatement(runs []kernelRun) string {
	var yes, no []string
	for _, r := range runs {
		if r.holds() {
			yes = append(yes, r.Version)
		} else {
			no = append(no, r.Version)
		}
	}
	s := "On Debian's Linux " + enumerate(yes) + " every program loads and the packet tables pass"
	if len(no) > 0 {
		s += "; not on " + enumerate(no)
	}
	return s + ". Linux " + oldest + " is the oldest that is supported"
}

// enumerate is "a, b and c".
func enumerate(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

func loadKernels(t *testing.T) []kernelRun {
	t.Helper()
	text, err := os.ReadFile(kernelsFile)
	if err != nil {
		t.Fatal(err)
	}
	var runs []kernelRun
	if err := json.Unmarshal(text, &runs); err != nil {
		t.Fatal(err)
	}
	return runs
}

// Marks around the statement in the README.
const (
	kernelsBegin = "<!-- kernels: make e2e-kernels -->\n"
	kernelsEnd   = "\n<!-- /kernels -->"
)

// saveKernels writes what was seen, and the pages that are made of it.
func saveKernels(t *testing.T, runs []kernelRun) {
	t.Helper()
	text, err := json.MarshalIndent(runs, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), kernelsBegin)
	_, after, ok2 := strings.Cut(rest, kernelsEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no marks for the statement", readme)
	}
	for name, text := range map[string]string{
		kernelsFile: string(text) + "\n", kernelsPage: kernelPage(runs),
		readme: before + readmeStatement(runs) + after,
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// kernelPage is docs/kernels.md.
func kernelPage(runs []kernelRun) string {
	return "# Kernels\n\n" + kernelStatement(runs) + ".\n\n" + `What ` + "`make e2e-kernels`" + ` saw: the proxy's programs, each loaded by itself, and the dataplane's tables of
packets, run by the kernel (BPF_PROG_TEST_RUN) in a virtual machine without hardware acceleration. The newest is what Debian
carries in backports at the time. Where tcx is missing (before Linux 6.6) the tables of traffic control run at clsact.
Three tables are left out, since they take minutes there: down actions, balancing, SNAT pools. The numbers are cases that
passed; seconds are a guest's whole life, here on two busy cores.

Linux 5.10 loads 3 of the programs: it has no bpf_loop (5.17), which takes functions as arguments, and none of the helpers
160 (bpf_ktime_get_coarse_ns, 5.11) and 163 (bpf_check_mtu, 5.12). ` + "`spklab vm --kernel 5.10`" + ` runs it all the same.

` + kernelTable(runs)
}

// TestKernelPages: the README and docs/kernels.md say what was seen.
func TestKernelPages(t *testing.T) {
	runs := loadKernels(t)
	for _, page := range []struct{ file, want string }{
		{readme, readmeStatement(runs)}, {kernelsPage, kernelPage(runs)},
	} {
		text, err := os.ReadFile(page.file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), page.want) {
			t.Errorf("%s does not have\n%s\nwhich %s asks for", page.file, page.want, kernelsFile)
		}
	}
}

func TestReadTests(t *testing.T) {
	const out = `=== RUN   TestLoad
=== RUN   TestLoad/tc/spk_a
=== RUN   TestLoad/tc/spk_b
    load_test.go:40: load program: invalid argument:
        	number of funcs (2 line(s) omitted)
=== RUN   TestPackets/tc/ping/echo/ipv4
--- FAIL: TestLoad (1.00s)
    --- PASS: TestLoad/tc/spk_a (0.10s)
    --- FAIL: TestLoad/tc/spk_b (0.10s)
--- PASS: TestPackets (0.30s)
    --- PASS: TestPackets/tc (0.30s)
        --- PASS: TestPackets/tc/ping/echo/ipv4 (0.00s)
        --- SKIP: TestPackets/tc/ping/echo/ipv6 (0.00s)
--- PASS: TestFlows (0.10s)
    --- PASS: TestFlows/one (0.10s)
    --- PASS: TestFlows/two (0.10s)
`
	tests, refused := readTests(out)
	want := map[string]cases{"TestLoad/tc": {1, 1}, "TestPackets/tc": {Passed: 1}, "TestFlows": {Passed: 2}}
	if diff := cmp.Diff(want, tests); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"tc/spk_b": "load program: invalid argument: number of funcs"}, refused); diff != "" {
		t.Error(diff)
	}
}
