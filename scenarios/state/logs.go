package state

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// logTail is how much of a log's end is kept, in octets.
const logTail = 16 << 10

// logMarks is how long each log in a directory is, by the process' name.
func logMarks(dir string) map[string]int64 {
	out := map[string]int64{}
	files, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		return out // only of a malformed pattern
	}
	for _, f := range files {
		if st, err := os.Stat(f); err == nil {
			out[strings.TrimSuffix(filepath.Base(f), ".log")] = st.Size()
		}
	}
	return out
}

// logsSince is what was logged after the marks, by process: the ends, from a line's beginning on.
// Processes that said nothing are left out.
func logsSince(dir string, marks map[string]int64) map[string]string {
	out := map[string]string{}
	for process, size := range logMarks(dir) {
		from := marks[process]
		if size < from {
			from = 0 // the log began anew
		}
		if size == from {
			continue
		}
		text, err := between(filepath.Join(dir, process+".log"), max(from, size-logTail), size)
		if err != nil {
			text = err.Error()
		}
		if from < size-logTail {
			_, text, _ = strings.Cut(text, "\n")
		}
		if text = strings.TrimSpace(text); text != "" {
			out[process] = text
		}
	}
	return out
}

// between is a part of a file.
func between(path string, from, to int64) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data := make([]byte, to-from)
	n, err := f.ReadAt(data, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.ToValidUTF8(string(data[:n]), "?"), nil
}
