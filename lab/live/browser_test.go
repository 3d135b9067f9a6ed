package live

import (
	"path/filepath"
	"testing"

	"github.com/spklab/spklab/e2e/browser"
)

// TestInTheBrowser holds the page to what testdata/watch.mjs asks of it.
func TestInTheBrowser(t *testing.T) {
	browser.Run(t, filepath.Join("testdata", "watch.mjs"), serve(t, newFake()).URL())
}
