package vm

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNeeded(t *testing.T) {
	for _, tc := range []struct {
		name, info string
		want       []string
	}{
		{"two", "license=GPL\x00depends=libcrc32c,nf-nat\x00name=x\x00", []string{"libcrc32c", "nf_nat"}},
		{"none", "depends=\x00", nil},
		{"soft, before", "softdep=pre: crc32c\x00depends=mdio\x00", []string{"crc32c", "mdio"}},
		{"soft, after", "softdep=post: crc32c\x00", nil},
		{"nothing", "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, needed(tc.info)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestCollectModulesAbsent: what a kernel has built in has no file, and is left out.
func TestCollectModulesAbsent(t *testing.T) {
	got, err := collectModules(t.Context(), t.TempDir(), modules())
	if err != nil || len(got) > 0 {
		t.Errorf("%v, %v", got, err)
	}
}

// TestCollectModulesRefuses: a file that is no module is named.
func TestCollectModulesRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "igb.ko"), []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := collectModules(t.Context(), dir, []string{"igb"}); err == nil {
		t.Error("a text is taken for a module")
	}
}
