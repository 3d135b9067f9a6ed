package topo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// entry is one line of the journal; exactly one field is set. Do stands there before the object
// is made, Made after it was made, Undo after it is gone.
type entry struct {
	Do   *Step  `json:"do,omitempty"`
	Made string `json:"made,omitempty"` // the step's line
	Undo string `json:"undo,omitempty"` // the step's line
}

// public is the entry without the content of a file.
func (e entry) public() entry {
	if e.Do == nil || e.Do.File == nil {
		return e
	}
	step := *e.Do
	step.File = &FileStep{Path: step.File.Path, Sum: step.File.sum()}
	e.Do = &step
	return e
}

// record is what the journal says of one step.
type record struct {
	step Step
	line string
	made bool
}

// journal is the lab's list of what it made, one JSON object a line, only ever appended to. It
// is safe for concurrent use.
type journal struct {
	path string

	mu      sync.Mutex
	whole   bool     // the file is known to end with a line end
	records []record // in the order of making
}

// openJournal reads what is there. A last line that a kill tore off is passed over: its object
// was not made yet.
func openJournal(dir string) (*journal, error) {
	j := &journal{path: filepath.Join(dir, "journal")}
	data, err := os.ReadFile(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	for len(data) > 0 {
		line, rest, whole := bytes.Cut(data, []byte("\n"))
		data = rest
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			if !whole || len(bytes.TrimSpace(line)) == 0 {
				continue
			}
			return nil, fmt.Errorf("read journal %s: line %q: %w", j.path, line, err)
		}
		j.note(e)
	}
	return j, nil
}

// note brings the records up to date with e. The lock is held, or nobody else knows j yet.
func (j *journal) note(e entry) {
	find := func(line string) int {
		return slices.IndexFunc(j.records, func(r record) bool { return r.line == line })
	}
	switch {
	case e.Do != nil:
		line := e.Do.String()
		if i := find(line); i >= 0 {
			j.records[i].made = false
			return
		}
		j.records = append(j.records, record{step: *e.Do, line: line})
	case e.Made != "":
		if i := find(e.Made); i >= 0 {
			j.records[i].made = true
		}
	case e.Undo != "":
		if i := find(e.Undo); i >= 0 {
			j.records = slices.Delete(j.records, i, i+1)
		}
	}
}

// write appends the entries with one system call, so that a kill tears at most the last line.
func (j *journal) write(entries ...entry) error {
	if len(entries) == 0 {
		return nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, e := range entries {
		if err := enc.Encode(e.public()); err != nil {
			return fmt.Errorf("encode journal entry: %w", err)
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.whole {
		if err := j.cutTornLine(); err != nil {
			return err
		}
		j.whole = true
	}
	f, err := os.OpenFile(j.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	_, err = f.Write(b.Bytes())
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	for _, e := range entries {
		j.note(e)
	}
	return nil
}

// cutTornLine takes a last line without an end off the file, so that the next entry begins a
// line of its own.
func (j *journal) cutTornLine() error {
	data, err := os.ReadFile(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	if whole := bytes.LastIndexByte(data, '\n') + 1; whole < len(data) {
		if err := os.Truncate(j.path, int64(whole)); err != nil {
			return fmt.Errorf("cut torn line off the journal: %w", err)
		}
	}
	return nil
}

// list returns a copy of the records, in the order of making.
func (j *journal) list() []record {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.records)
}
