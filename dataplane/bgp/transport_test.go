package bgp

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// TestPrompt: a neighbor that says nothing is given up, one that has spoken may be silent. The clock is the
// test's: on a busy machine the neighbor might speak too late.
func TestPrompt(t *testing.T) {
	const wait = 50 * time.Millisecond
	for _, speaks := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) { testPrompt(t, wait, speaks) })
	}
}

func testPrompt(t *testing.T, wait time.Duration, speaks bool) {
	near, far := net.Pipe()
	p := &prompt{Conn: near, wait: wait}
	done := make(chan error, 1)
	go func() {
		var err error
		for err == nil {
			_, err = p.Read(make([]byte, 1))
		}
		done <- err
		close(done)
	}()
	if !speaks {
		if err := <-done; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("silent from the start: %v", err)
		}
		return
	}
	if _, err := far.Write([]byte{0xff}); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		t.Errorf("silent after the first octet: %v", err)
	case <-time.After(4 * wait):
	}
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	<-done
}

// TestQuiet: after the sessions of a speaker before, neighbors are left alone for a second, whatever the clock says.
func TestQuiet(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, tc := range []struct {
		name  string
		ended time.Time
		want  time.Duration
	}{
		{"none before", time.Time{}, 0},
		{"just ended", now, lastRetry},
		{"ended before", now.Add(-300 * time.Millisecond), lastRetry - 300*time.Millisecond},
		{"long ago", now.Add(-time.Hour), 0},
		{"the clock was set back", now.Add(time.Hour), lastRetry},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := quiet(tc.ended, now); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

// TestPause: who took fewer prefixes than it was told is asked again later than others, and what it said of a
// connection before counts no more.
func TestPause(t *testing.T) {
	const limit = "received " + NotificationMaxPrefix
	for _, tc := range []struct {
		name   string
		lived  time.Duration
		lost   bool
		before string
		after  string // what was notified, empty for nothing more
		want   time.Duration
	}{
		{name: "refused at once", want: firstRetry},
		{name: "a session that ended", lived: stable + 1, want: lastRetry},
		{name: "ended by BFD", lost: true, want: lastRetry},
		{name: "too many prefixes", after: limit, want: limitRetry},
		{name: "too many prefixes after long", lived: stable + 1, after: limit, want: limitRetry},
		{name: "too many prefixes once more", before: limit, after: limit, want: limitRetry},
		{name: "too many prefixes before", before: limit, want: firstRetry},
		{name: "another notification", after: "received 6/2 Cease: Administrative Shutdown", want: firstRetry},
		{name: "our own limit", after: "sent " + NotificationMaxPrefix, want: firstRetry},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var tr transport
			tr.lost.Store(tc.lost)
			if tc.before != "" {
				tr.notified.Store(&tc.before)
			}
			before := tr.notified.Load()
			if tc.after != "" {
				tr.notified.Store(&tc.after)
			}
			if got := tr.pause(firstRetry, tc.lived, before); got != tc.want {
				t.Errorf("waits for %s, want %s", got, tc.want)
			}
			if tr.lost.Load() {
				t.Error("the loss counts for the next connection, too")
			}
		})
	}
}
