package bpf

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestLayout holds what is pinned against the file of its version: whoever changes a map or one
// of its structures raises SPK_LAYOUT, and a new file begins.
func TestLayout(t *testing.T) {
	spec, err := LoadSpk()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(spec.Maps)) {
		if strings.HasPrefix(name, ".") {
			continue // variables, which are not pinned
		}
		m := spec.Maps[name]
		fmt.Fprintf(&b, "%s %s flags %#x key %d value %d\n", name, m.Type, m.Flags, m.KeySize, m.ValueSize)
		fmt.Fprintf(&b, "\tkey   %s\n\tvalue %s\n", declare(t, m.Key), declare(t, m.Value))
	}
	file := fmt.Sprintf("testdata/layout-v%d.golden", Layout)
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("pinned maps have changed: raise SPK_LAYOUT, then -update (-want +got):\n%s", diff)
	}
}

// declare is a type on one line.
func declare(t *testing.T, typ btf.Type) string {
	t.Helper()
	if _, void := typ.(*btf.Void); typ == nil || void {
		return "none"
	}
	s, err := (&btf.GoFormatter{}).TypeDeclaration("t", typ)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(s), " ")
}

// TestCounters: every counter has a name of its own.
func TestCounters(t *testing.T) {
	names := map[string]bool{}
	for _, c := range Counters() {
		if s := c.String(); names[s] || strings.Contains(s, "(") {
			t.Errorf("counter %d is named %q", c, s)
		} else {
			names[s] = true
		}
	}
	if !names["DROP_NO_FLOW"] || names["OK"] || names["COUNTERS"] {
		t.Errorf("names %v", names)
	}
}
