package bgp

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// TestPrompt: a neighbor that says nothing is given up, one that has spoken may be silent.
func TestPrompt(t *testing.T) {
	const wait = 50 * time.Millisecond
	for _, speaks := range []bool{false, true} {
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
			continue
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
}
