package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestSideBySide: nothing is said while it goes fast, and then what is still looked at. The looks wait for each
// other, which none could that came after another.
func TestSideBySide(t *testing.T) {
	met, released, said := make(chan bool), make(chan bool), []string{}
	late := make(chan time.Time)
	looks := []look{
		{"kernel", func() { met <- true; late <- time.Time{}; <-released }},
		{"programs", func() { <-met; <-released }},
	}
	sideBySide(func(text string) {
		if said = append(said, text); len(said) < 3 {
			released <- true
		}
	}, late, looks...)
	if len(said) != 2 || said[0] != "looking at kernel, programs" || said[1] != "looking at kernel" && said[1] != "looking at programs" {
		t.Errorf("said %q", said)
	}
	said = nil
	sideBySide(func(text string) { said = append(said, text) }, nil, look{"kernel", func() {}}, look{"programs", func() {}})
	if diff := cmp.Diff([]string(nil), said); diff != "" {
		t.Errorf("without waiting (-want +said):\n%s", diff)
	}
}
