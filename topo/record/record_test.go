package record

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type doc struct{ Name string }

func TestDir(t *testing.T) {
	d := Dir[doc]{filepath.Join(t.TempDir(), "records"), "PF"}
	if got, err := d.Get("b"); got != nil || err != nil {
		t.Errorf("nothing is there: %v, %v", got, err)
	}
	for _, key := range []string{"b", "a"} {
		if err := d.Put(key, doc{key}); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(d.path("c")+".part", []byte("{"), 0o600); err != nil { // killed while it was written
		t.Fatal(err)
	}
	all, err := d.All()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]doc{{"a"}, {"b"}}, all); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	st, err := os.Stat(d.Path)
	if err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", st, err)
	}
	for range 2 {
		if err := d.Forget("a"); err != nil {
			t.Error(err)
		}
	}
	if got, err := d.Get("a"); got != nil || err != nil {
		t.Errorf("forgotten: %v, %v", got, err)
	}
	if err := os.WriteFile(d.path("b"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.All(); err == nil {
		t.Error("a document that is broken was read")
	}
}
