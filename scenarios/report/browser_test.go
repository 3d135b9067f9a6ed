package report

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/spklab/spklab/e2e/browser"
)

var screenshots = flag.Bool("screenshots", false, "rewrite the pictures of report.html in docs")

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
	args := []string{dir}
	if *screenshots {
		args = append(args, filepath.Join("..", "..", "docs"))
	}
	browser.Run(t, filepath.Join("testdata", "page.mjs"), args...)
}
