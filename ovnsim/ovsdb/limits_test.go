package ovsdb

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// TestFrames cuts streams into messages, whatever pieces they come in.
func TestFrames(t *testing.T) {
	long := `{"a":"` + strings.Repeat("x", 3*freeMessage) + `"}`
	for name, c := range map[string]struct {
		in   string
		want []string
		err  error
	}{
		"none":               {"", nil, io.EOF},
		"blanks":             {" \n\t ", nil, io.EOF},
		"two":                {` {"a":1} {"b":[2]}`, []string{` {"a":1}`, ` {"b":[2]}`}, io.EOF},
		"brackets in quotes": {`{"a":"}\"}"}{}`, []string{`{"a":"}\"}"}`, `{}`}, io.EOF},
		"backslashes":        {`{"a":"\\"}{}`, []string{`{"a":"\\"}`, `{}`}, io.EOF},
		"no object":          {`{}[1]`, []string{`{}`}, errNotObject},
		"the end is missing": {`{"a":`, nil, io.EOF},
		"long":               {long + `{}`, []string{long, `{}`}, io.EOF},
	} {
		for how, r := range map[string]io.Reader{"at once": strings.NewReader(c.in), "byte by byte": iotest.OneByteReader(strings.NewReader(c.in))} {
			t.Run(name+" "+how, func(t *testing.T) {
				var p pool
				f := newFramer(r, &p)
				for _, want := range c.want {
					if got, err := f.next(); err != nil || string(got) != want {
						t.Fatalf("%.80q, %v, want %.80q", got, err, want)
					}
				}
				if got, err := f.next(); !errors.Is(err, c.err) {
					t.Errorf("%.80q, %v, want %v", got, err, c.err)
				}
				f.release()
				if p.used.Load() != 0 {
					t.Errorf("%d bytes of the pool are lost", p.used.Load())
				}
			})
		}
	}
}

// TestHostileMessages: a client that sends what no client should is cut off at once, and what the
// others see is nothing.
func TestHostileMessages(t *testing.T) {
	sock := startServer(t)
	for name, send := range map[string]string{
		"deep":          `{"method":"echo","id":1,"params":[` + strings.Repeat("[", maxDepth),
		"many values":   `{"method":"echo","id":1,"params":[` + strings.Repeat("0,", maxValues+1),
		"deep members":  strings.Repeat(`{"a":`, maxDepth+1),
		"an array":      `[1,2]`,
		"garbage":       "\x00\x01\x02",
		"HTTP":          "GET / HTTP/1.1\r\n\r\n",
		"no JSON":       `{"method":}`,
		"a method of 5": `{"method":5,"params":[],"id":1}`,
		"no parameters": `{"method":"echo","id":1}`,
		"an object":     `{"method":"echo","id":1,"params":{}}`,
		"not UTF-8":     "{\"method\":\"echo\",\"id\":1,\"params\":[\"\xff\xfe\"]}",
	} {
		t.Run(name, func(t *testing.T) {
			p := dialPeer(t, sock)
			_, _ = io.WriteString(p.nc, send) // the server may hang up in the middle
			if _, err := io.ReadAll(p.nc); errors.Is(err, net.ErrClosed) || err != nil && strings.Contains(err.Error(), "timeout") {
				t.Errorf("the server did not hang up: %v", err)
			}
		})
	}
	p := dialPeer(t, sock)
	p.send(`{"method":"echo","id":1,"params":[]}`)
	p.wants(`{"id":1,"result":[],"error":null}`)
}

// TestPool: clients that begin large messages and do not end them get no more memory than there
// is for all of them, and a client with an ordinary message is served meanwhile.
func TestPool(t *testing.T) {
	sock := startServer(t)
	begun := append([]byte(`{"method":"echo","id":1,"params":["`), bytes.Repeat([]byte("x"), maxMessage/2)...)
	refused := make(chan struct{}, 1) // the first may be refused before anybody waits for it
	for range 3 * maxPool / maxMessage {
		p := dialPeer(t, sock)
		go func() {
			if _, err := p.nc.Write(begun); err == nil {
				_, err = p.nc.Read(make([]byte, 1))
				if err == nil || errors.Is(err, net.ErrClosed) {
					return
				}
			}
			select {
			case refused <- struct{}{}:
			default:
			}
		}()
	}
	p := dialPeer(t, sock)
	p.send(`{"method":"echo","id":1,"params":[]}`)
	p.wants(`{"id":1,"result":[],"error":null}`)
	select {
	case <-refused:
	case <-time.After(10 * time.Second):
		t.Error("no client was refused")
	}
}

// TestSlowReaderIsNotRead: a client that does not read its answers is not read from either, so
// that it cannot make the server collect them.
func TestSlowReaderIsNotRead(t *testing.T) {
	p := dialPeer(t, startServer(t))
	if err := p.nc.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	sent, request := 0, `{"method":"get_schema","id":1,"params":["OVN_Northbound"]}`
	for sent < 1<<20 {
		n, err := io.WriteString(p.nc, request)
		if sent += n; err != nil {
			return // the kernel's buffers are full, and the server does not empty them
		}
	}
	t.Errorf("the server took %d bytes of requests whose answers nobody reads", sent)
}
