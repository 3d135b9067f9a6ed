package record

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spklab/spklab/ctl"
)

const (
	// sendTimeout bounds a write to a collector that does not read.
	sendTimeout = 10 * time.Second
	// answerTimeout bounds the wait for an answer; it is longer than all deadlines of the sources.
	answerTimeout = 2 * time.Minute
)

// Writer sends records to a collector. It is safe for concurrent use. The first error ends the
// stream, and the test goes on without a collector; Err tells. A nil *Writer drops everything.
type Writer struct {
	in      *os.File
	answers *bufio.Reader
	out     *os.File

	mu  sync.Mutex
	err error
}

// NewWriter writes to one end of a pipe and reads the collector's answers from one of another. It
// owns both.
func NewWriter(in, answers *os.File) *Writer {
	return &Writer{in: in, out: answers, answers: bufio.NewReader(answers)}
}

// Send sends a record.
func (w *Writer) Send(r Record) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.send(r)
}

func (w *Writer) send(r Record) {
	if w.err != nil {
		return
	}
	if r.At == 0 {
		r.At = ctl.Now()
	}
	line, err := json.Marshal(r)
	if err != nil {
		w.err = fmt.Errorf("encode record %s: %w", r.Kind, err)
		return
	}
	if err := w.in.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		w.err = fmt.Errorf("write to the collector: %w", err)
		return
	}
	if _, err := w.in.Write(append(line, '\n')); err != nil {
		w.err = fmt.Errorf("write to the collector: %w", err)
	}
}

// Sync sends a record that the collector answers ([Begins], [Ends], [RunEnds]) and returns when
// all sources have done what they had to do.
func (w *Writer) Sync(r Record) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.send(r)
	if w.err != nil {
		return
	}
	if err := w.out.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
		w.err = fmt.Errorf("wait for the collector: %w", err)
		return
	}
	line, err := w.answers.ReadString('\n')
	switch got := strings.TrimSpace(line); {
	case err != nil:
		w.err = fmt.Errorf("wait for the collector after %s: %w", r.Kind, err)
	case got != string(r.Kind):
		w.err = fmt.Errorf("the collector answered %q to %s", got, r.Kind)
	}
}

// Err is why the stream has ended; nil while it has not.
func (w *Writer) Err() error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Close ends the stream. To a collector that has not had [RunEnds] the run is interrupted.
func (w *Writer) Close() error {
	if w == nil {
		return nil
	}
	return errors.Join(w.in.Close(), w.out.Close())
}
