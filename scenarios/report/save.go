package report

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// The files of a saved run.
const (
	FileRun     = "run.json"
	FileJUnit   = "junit.xml"
	FileHTML    = "report.html"
	FileSummary = "summary.md"
)

// Save writes all four files into dir, which is made when it is missing.
func (r Run) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make report directory: %w", err)
	}
	for _, f := range []struct {
		name  string
		write func(io.Writer) error
	}{
		{FileRun, r.WriteJSON},
		{FileJUnit, r.WriteJUnit},
		{FileHTML, r.WriteHTML},
		{FileSummary, r.WriteSummary},
	} {
		if err := SaveTo(filepath.Join(dir, f.name), f.write); err != nil {
			return err
		}
	}
	return nil
}

// SaveTo writes one file by one of the Write methods.
func SaveTo(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("create report: %w", err)
	}
	if err := write(f); err != nil {
		_ = f.Close() // the first error says more
		return err
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("close report: %w", err)
	}
	return nil
}
