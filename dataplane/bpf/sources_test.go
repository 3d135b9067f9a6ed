package bpf

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFrontEndsApart: the sources that ask which front end they are compiled for are those that
// spk_ctx.h names.
func TestFrontEndsApart(t *testing.T) {
	sources, err := filepath.Glob("*.[ch]")
	if err != nil {
		t.Fatal(err)
	}
	var asking []string
	for _, name := range sources {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("def SPK_XDP")) || bytes.Contains(text, []byte("defined(SPK_XDP")) {
			asking = append(asking, name)
		}
	}
	slices.Sort(asking)
	if diff := cmp.Diff([]string{"spk.bpf.c", "spk_ctx.h", "spk_device.h"}, asking); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
