package main

import (
	"os"
	"strings"
	"testing"

	"github.com/spklab/spklab/lab"
)

// TestTopologiesAreNamed: who looks for a topology finds each in the help of up and in the README.
func TestTopologiesAreNamed(t *testing.T) {
	names, err := lab.Shipped()
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if list := "(" + strings.Join(names, ", ") + ")"; !strings.Contains(newUp().Long, list) {
		t.Errorf("the help of up lacks %s", list)
	}
	for _, name := range names {
		if !strings.Contains(string(readme), "\n| `"+name+"` | ") {
			t.Errorf("README.md lacks %s", name)
		}
	}
}
