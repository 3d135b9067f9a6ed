package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// sample is a run with every state, every kind of attachment, and text that must be escaped.
func sample() Run {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return Run{
		Version: Version, Lab: "spk", Spklab: "v0.1.0", Platform: Platform{Kernel: "6.18.5", CPUs: 2},
		Started: start, Duration: 12345 * time.Millisecond, Seed: 42,
		Unenforced:   []string{"net1 in spk-spk-f5-tmm-1 (0000:02:10.0): spoofchk: configured, not enforced"},
		Capabilities: []string{"macvlan", "sim-ovn"},
		Scenarios: []Scenario{
			{
				Group: "Ingress", Name: "TCP over IPv4, SNAT automap", Labels: []string{"ingress", "ipv4"},
				State: Passed, Started: start, Duration: 120 * time.Millisecond, Attempts: 1,
				Figures: []Figure{{Name: "hops", Value: 21}},
				Evidence: []Evidence{{
					Title: "the way of one request and its answer",
					Chain: []string{"client", "upstream", "f5-tmm-1", "app-1"},
					Text:  "    0.000 ms  client/eth0 out 203.0.113.10:40001 > 192.0.2.10:80 TCP P. ttl 64 length 80\n",
				}},
			},
			{
				Group: "BGP gate", Name: "the last endpoint goes", State: Flaky, Started: start.Add(time.Second),
				Duration: 2 * time.Second, Attempts: 2, Artifacts: []string{"pcap/bgp-gate.pcapng"},
				Figures: []Figure{{Name: "removal to withdrawal at the peer", Value: 12.345, Unit: "ms"}, {Name: "ratio", Value: 0.5123, Note: "of plain forwarding"}},
			},
			{
				Group: "BGP gate", Name: "the endpoint comes back", State: Failed, Started: start.Add(3 * time.Second),
				Duration: 5 * time.Second, Attempts: 1, Location: "scenarios/bgp.go:42",
				Message: "Timed out after 5 s.\nExpected\n    <script>alert(\"x\")</script> | \x1b[31mred\x1b[0m\nto be announced",
			},
			{Group: "Flannel", Name: "pod to pod", State: Skipped, Started: start.Add(8 * time.Second), Message: "this lab has no flannel-hostgw"},
			{Group: "Flannel", Name: "routes", State: Interrupted, Started: start.Add(9 * time.Second), Attempts: 1, Message: "interrupted by the user"},
		},
	}
}

func TestGoldens(t *testing.T) {
	for _, tc := range []struct {
		file  string
		write func(io.Writer) error
	}{
		{FileRun, sample().WriteJSON},
		{FileJUnit, sample().WriteJUnit},
		{FileHTML, sample().WriteHTML},
		{FileSummary, sample().WriteSummary},
	} {
		t.Run(tc.file, func(t *testing.T) {
			var got bytes.Buffer
			if err := tc.write(&got); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", tc.file)
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("%s differs from its golden (-want +got):\n%s", tc.file, diff)
			}
		})
	}
}

func TestReadReturnsWhatWasWritten(t *testing.T) {
	var b bytes.Buffer
	if err := sample().WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	got, err := Read(&b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample(), got); diff != "" {
		t.Errorf("read differs from written (-want +got):\n%s", diff)
	}
}

func TestReadRefuses(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"another version", `{"version": 99}`, "format version 99"},
		{"no JSON", `PASS`, "invalid character"},
		{"cut short", `{"version": 2, "lab": "sp`, "unexpected EOF"},
		{"empty", ``, "EOF"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Read(strings.NewReader(tc.in))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Read(%q) = %v, want an error with %q", tc.in, err, tc.want)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	var b bytes.Buffer
	if err := sample().WriteJSON(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(`{"version":2,"scenarios":[{"name":"\u0000]]>","state":"failed"}]}`))
	f.Add([]byte(`{"version":2,"regression":{"paths":[{"differs":-1}]},"scenarios":[{"state":"failed","paths":[{"diverges":-9,"hops":[{"point":"/"}]}]}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		run, err := Read(bytes.NewReader(in))
		if err != nil {
			return
		}
		var junit bytes.Buffer
		if err := errors.Join(run.WriteJUnit(&junit), run.WriteHTML(io.Discard), run.WriteSummary(io.Discard)); err != nil {
			t.Fatalf("a run that can be read cannot be written: %v", err)
		}
		if err := xml.Unmarshal(junit.Bytes(), new(junitSuites)); err != nil {
			t.Fatalf("junit.xml cannot be read back: %v", err)
		}
	})
}

func TestSave(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "dir")
	if err := sample().Save(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{FileRun, FileJUnit, FileHTML, FileSummary} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Size() == 0 {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
}

func TestCounts(t *testing.T) {
	want := Counts{Passed: 1, Flaky: 1, Failed: 2, Skipped: 1}
	if got := sample().Counts(); got != want {
		t.Errorf("Counts() = %+v, want %+v", got, want)
	}
	if got, want := want.String(), "1 passed, 1 flaky, 2 failed, 1 skipped"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
}

func TestFigureNumber(t *testing.T) {
	for _, tc := range []struct {
		f    Figure
		want string
	}{
		{Figure{Value: 100}, "100"},
		{Figure{Value: 12.345, Unit: "ms"}, "12.3 ms"},
		{Figure{Value: 1.2345}, "1.23"},
		{Figure{Value: 0.98765}, "0.988"},
		{Figure{Value: 1234.5, Unit: "Mbit/s"}, "1234 Mbit/s"},
		{Figure{Value: -2.5, Unit: "ms"}, "-2.50 ms"},
	} {
		t.Run(tc.want, func(t *testing.T) {
			if got := tc.f.Number(); got != tc.want {
				t.Errorf("Number() = %q, want %q", got, tc.want)
			}
		})
	}
}
