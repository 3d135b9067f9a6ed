package topo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
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
	read    []byte   // the lines of the file that records follow from
	whole   bool     // nothing stands behind them
	records []record // in the order of making
}

// openJournal reads what is there.
func (r *Runtime) openJournal() (*journal, error) {
	r.journal.mu.Lock()
	defer r.journal.mu.Unlock()
	return &r.journal, r.journal.follow()
}

// follow reads what has been added since, or everything when it is not what was read before. A last
// line that a kill tore off is passed over: its object was not made yet. The lock is held.
func (j *journal) follow() error {
	data, err := os.ReadFile(j.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read journal: %w", err)
	}
	if !bytes.HasPrefix(data, j.read) { // the lab has been removed meanwhile
		j.read, j.records = nil, nil
	}
	for {
		line, _, whole := bytes.Cut(data[len(j.read):], []byte("\n"))
		if !whole {
			j.whole = len(line) == 0
			return nil
		}
		if len(bytes.TrimSpace(line)) > 0 {
			var e entry
			if err := json.Unmarshal(line, &e); err != nil {
				return fmt.Errorf("read journal %s: line %q: %w", j.path, line, err)
			}
			j.note(e)
		}
		j.read = data[:len(j.read)+len(line)+1]
	}
}

// note brings the records up to date with e. The lock is held.
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
	if !j.whole { // the next entry begins a line of its own
		if err := os.Truncate(j.path, int64(len(j.read))); err != nil {
			return fmt.Errorf("cut torn line off the journal: %w", err)
		}
		j.whole = true
	}
	f, err := os.OpenFile(j.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	_, err = f.Write(b.Bytes())
	if err := errors.Join(err, f.Close()); err != nil {
		j.whole = false
		return fmt.Errorf("write journal: %w", err)
	}
	return j.follow()
}

// list returns a copy of the records, in the order of making.
func (j *journal) list() []record {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.records)
}
