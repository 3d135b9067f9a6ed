package report

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/spklab/spklab/e2e/browser"
)

// TestInTheBrowser holds report.html to what testdata/page.mjs asks of it.
func TestInTheBrowser(t *testing.T) {
	dir := t.TempDir()
	bad := failing(t)
	for i := range bad.Scenarios {
		state := bad.Scenarios[i].State
		corrupt(reflect.ValueOf(&bad.Scenarios[i]).Elem())
		bad.Scenarios[i].State = state
	}
	for name, run := range map[string]Run{"failing": failing(t), "passing": passing(t), "large": large(t), "evil": bad} {
		if err := os.WriteFile(filepath.Join(dir, name+".html"), []byte(page(t, run)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	browser.Run(t, filepath.Join("testdata", "page.mjs"), dir)
}
