package scenarios

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/spklab/spklab/scenarios/report"
)

// TestReproduceMeansOneScenario has a shell read the command, and looks which scenarios its focus
// selects.
func TestReproduceMeansOneScenario(t *testing.T) {
	var all []report.Scenario
	for _, c := range chapters() {
		for _, s := range c.specs {
			all = append(all, report.Scenario{Group: c.name, Name: s.name})
		}
	}
	for _, s := range all {
		line := strings.TrimPrefix(reproduce("spk", 7, s), "spklab test ")
		out, err := exec.Command("sh", "-c", "printf '%s\\n' "+line).Output()
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		words := strings.Split(strings.TrimSpace(string(out)), "\n")
		if len(words) != 5 || words[0] != "spk" || words[1] != "--focus" || words[4] != "7" {
			t.Fatalf("a shell reads %q", words)
		}
		focus, err := regexp.Compile(words[2])
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range all {
			// Ginkgo matches the suite's name, the outer container and the scenario's own.
			if got, want := focus.MatchString("spklab spk spklab "+other.Group+" "+other.Name), other.Name == s.Name && other.Group == s.Group; got != want {
				t.Errorf("%s selects %q: %v", words[2], other.Name, got)
			}
		}
	}
}

func TestPlatformIsKnown(t *testing.T) {
	if p := platform(); p.Kernel == "" || p.Arch == "" || p.CPUs < 1 {
		t.Errorf("platform %+v", p)
	}
	if _, err := exec.LookPath("dpkg-query"); err != nil {
		t.Skip("no dpkg-query")
	}
	versions, err := packages()
	if err != nil {
		t.Fatal(err)
	}
	for name, version := range versions {
		if name == "" || version == "" {
			t.Errorf("package %q has version %q", name, version)
		}
	}
}
