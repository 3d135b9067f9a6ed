package report

import (
	"errors"
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

// Load reads the run.json at path.
func Load(path string) (Run, error) {
	f, err := os.Open(path)
	if err != nil {
		return Run{}, fmt.Errorf("open run: %w", err)
	}
	run, err := Read(f)
	return run, errors.Join(err, f.Close())
}

// SaveTo writes one file by one of the Write methods. Who reads it meanwhile sees the file of before
// or the new one, whole; on an error the one of before stays. A pipe or a device is written to.
func SaveTo(path string, write func(io.Writer) error) error {
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("open report: %w", err)
		}
		return errors.Join(write(f), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-"+filepath.Base(path)+"-")
	if err != nil {
		return fmt.Errorf("create report: %w", err)
	}
	if err := fill(f, write); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return errors.Join(fmt.Errorf("put report in place: %w", err), os.Remove(f.Name()))
	}
	return nil
}

// fill writes and closes a file that everybody may read.
func fill(f *os.File, write func(io.Writer) error) error {
	if err := write(f); err != nil {
		_ = f.Close() // the first error says more
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		_ = f.Close() // the first error says more
		return fmt.Errorf("let everybody read the report: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("close report: %w", err)
	}
	return nil
}
