package ctl

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Event is one thing that happened in one process, on the clock that all processes of the
// machine share.
type Event struct {
	At     int64  `json:"at_ns"`            // CLOCK_MONOTONIC, nanoseconds
	Source string `json:"source"`           // process name, e.g. "f5-tmm-1"
	Kind   string `json:"kind"`             // e.g. "vs-programmed", "route-withdrawn"
	Object string `json:"object,omitempty"` // what it happened to, e.g. "192.0.2.10/32"
	Detail string `json:"detail,omitempty"`
}

// Now is CLOCK_MONOTONIC in nanoseconds.
func Now() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return time.Now().UnixNano() // cannot fail on Linux; keeps the order either way
	}
	return ts.Nano()
}

// maxEvents bounds a Log: the oldest events go first.
const maxEvents = 16384

// Log keeps the newest events of one process. It is safe for concurrent use; a nil *Log
// drops everything.
type Log struct {
	source string

	mu     sync.Mutex
	events []Event
}

// NewLog returns an empty log whose events carry source.
func NewLog(source string) *Log { return &Log{source: source} }

// Add records an event that happens now.
func (l *Log) Add(kind, object, detail string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.events) == maxEvents {
		l.events = append(l.events[:0], l.events[maxEvents/4:]...)
	}
	l.events = append(l.events, Event{At: Now(), Source: l.source, Kind: kind, Object: object, Detail: detail})
}

// Events returns a copy of what is kept, oldest first; never nil.
func (l *Log) Events() []Event { return l.Since(0) }

// Since is Events without those before a moment.
func (l *Log) Since(at int64) []Event {
	out := []Event{}
	if l == nil {
		return out
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	first, _ := slices.BinarySearchFunc(l.events, at, func(e Event, at int64) int { return cmp.Compare(e.At, at) })
	return append(out, l.events[first:]...)
}
