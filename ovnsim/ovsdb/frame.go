package ovsdb

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

// Limits of a message that clients send.
const (
	maxMessage = 32 << 20 // bytes of one JSON-RPC message
	maxDepth   = 200      // arrays and objects within each other
	maxValues  = 1 << 20  // values in one message
	// freeMessage is what every client may send; more than that comes out of a pool for all.
	freeMessage = 64 << 10
	maxPool     = 128 << 20
	// valueSize is about what a value takes in memory beside its text.
	valueSize = 40
)

var (
	errNotObject = errors.New("a message must be a JSON object")
	errPool      = errors.New("all clients together have too much in messages that are not complete")
)

// pool bounds the memory of all unfinished messages together.
type pool struct{ used atomic.Int64 }

func (p *pool) take(n int64) bool {
	if p.used.Add(n) > maxPool {
		p.used.Add(-n)
		return false
	}
	return true
}

func (p *pool) give(n int64) { p.used.Add(-n) }

// framer cuts a stream into JSON objects without understanding more of them than where they
// begin and end, how deep they are and how many values they have at most.
type framer struct {
	r     *bufio.Reader
	pool  *pool
	taken int64
	buf   []byte

	depth, values   int
	quoted, escaped bool
}

func newFramer(r io.Reader, p *pool) *framer {
	return &framer{r: bufio.NewReaderSize(r, 16<<10), pool: p}
}

// next returns the next message, valid until the following call. At the end of the stream it
// returns io.EOF, also in the middle of a message.
func (f *framer) next() ([]byte, error) {
	f.release()
	f.depth, f.values, f.quoted, f.escaped = 0, 0, false, false
	for {
		if _, err := f.r.Peek(1); err != nil {
			return nil, err
		}
		chunk, _ := f.r.Peek(f.r.Buffered())
		n, done, err := f.scan(chunk)
		if err != nil {
			return nil, err
		}
		if err := f.keep(chunk[:n]); err != nil {
			return nil, err
		}
		if _, err := f.r.Discard(n); err != nil {
			return nil, err
		}
		if done {
			return f.buf, nil
		}
	}
}

// partial says whether a message has begun and not ended.
func (f *framer) partial() bool { return f.depth > 0 }

// release gives back what the last message took.
func (f *framer) release() {
	f.pool.give(f.taken)
	f.taken = 0
	if cap(f.buf) > freeMessage {
		f.buf = nil
	}
	f.buf = f.buf[:0]
}

func (f *framer) keep(chunk []byte) error {
	size := len(f.buf) + len(chunk)
	if size > maxMessage {
		return fmt.Errorf("message of more than %d bytes", maxMessage)
	}
	if more := int64(2*size+valueSize*f.values) - f.taken; size > freeMessage && more > 0 {
		if !f.pool.take(more) {
			return errPool
		}
		f.taken += more
	}
	f.buf = append(f.buf, chunk...)
	return nil
}

// scan looks for the end of the message; n bytes of chunk belong to it.
func (f *framer) scan(chunk []byte) (n int, done bool, err error) {
	for i, c := range chunk {
		switch {
		case f.escaped:
			f.escaped = false
		case f.quoted:
			f.escaped, f.quoted = c == '\\', c != '"'
		case f.depth == 0:
			switch c {
			case ' ', '\t', '\r', '\n':
			case '{':
				f.depth = 1
			default:
				return 0, false, errNotObject
			}
		default:
			if err := f.structure(c); err != nil {
				return 0, false, err
			}
			if f.depth == 0 {
				return i + 1, true, nil
			}
		}
	}
	return len(chunk), false, nil
}

func (f *framer) structure(c byte) error {
	switch c {
	case '"':
		f.quoted = true
	case '{', '[':
		f.depth++
		f.values++
	case '}', ']':
		f.depth--
	case ',':
		f.values++
	}
	if f.depth > maxDepth {
		return fmt.Errorf("message with more than %d levels", maxDepth)
	}
	if f.values > maxValues {
		return fmt.Errorf("message with more than %d values", maxValues)
	}
	return nil
}
