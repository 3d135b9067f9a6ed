package spklab_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// fieldFailures is how many things go wrong in the field, as docs/explain.md counts them.
const fieldFailures = 15

// TestFieldFailures holds the table of what goes wrong in the field to the tests and scenarios that it names.
func TestFieldFailures(t *testing.T) {
	text, err := os.ReadFile("docs/explain.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "## What goes wrong in the field")
	if !found {
		t.Fatal("docs/explain.md has no table of what goes wrong in the field")
	}
	number := 0
	for row := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(row), " | ")
		if !strings.HasPrefix(row, "| ") || strings.HasPrefix(row, "| |") {
			continue
		}
		number++
		if len(cells) != 4 || cells[0] != fmt.Sprintf("| %d", number) {
			t.Errorf("row %d: %q", number, row)
			continue
		}
		holders := regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[3], -1)
		if len(holders) == 0 {
			t.Errorf("row %d is held by nothing", number)
		}
		for _, h := range holders {
			if err := exists(h[1]); err != nil {
				t.Errorf("row %d: %s: %v", number, h[1], err)
			}
		}
	}
	if number != fieldFailures {
		t.Errorf("%d rows, want %d", number, fieldFailures)
	}
}

// exists looks for what holds a row: "scenario: NAME" among the scenarios, "script: COMMENT" among those of the
// command line, "DIRECTORY.TEST: CASE" in the tests of a directory.
func exists(holder string) error {
	where, name, found := strings.Cut(holder, ": ")
	if !found {
		return fmt.Errorf("want PLACE: NAME")
	}
	switch where {
	case "scenario":
		return stands("scenarios/*.go", name)
	case "script":
		return stands("cmd/spklab/testdata/script/*.txtar", name)
	}
	dir, test, found := strings.Cut(where, ".")
	if !found {
		return fmt.Errorf("want DIRECTORY.TEST: CASE")
	}
	files := filepath.Join(dir, "*_test.go")
	if err := stands(files, "func "+test+"("); err != nil {
		return err
	}
	return stands(files, name)
}

// stands looks for a text in files.
func stands(pattern, text string) error {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return err
	}
	for _, f := range files {
		source, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if strings.Contains(string(source), text) {
			return nil
		}
	}
	return fmt.Errorf("no %q in %s", text, pattern)
}
