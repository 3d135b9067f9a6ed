package router

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// askTimeout bounds one question to a daemon whose context has no deadline.
const askTimeout = 5 * time.Second

// maxAnswer bounds an answer: 10,000 prefixes of 8 paths are some 50 MB of FRR's JSON.
const maxAnswer = 256 << 20

// dial connects to a daemon's socket with a deadline.
func dial(ctx context.Context, socket string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(askTimeout)
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// vty asks a daemon of FRR as vtysh does: a command and a NUL; then the answer, three NULs and a
// status (lib/vty.c of FRR 8.4).
func vty(ctx context.Context, socket, command string) (answer string, err error) {
	conn, err := dial(ctx, socket)
	if err != nil {
		return "", fmt.Errorf("ask FRR: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	for _, c := range []string{"enable", command} {
		if _, err := conn.Write(append([]byte(c), 0)); err != nil {
			return "", fmt.Errorf("ask FRR %q: %w", c, err)
		}
		if answer, err = vtyAnswer(conn); err != nil {
			return "", fmt.Errorf("ask FRR %q: %w", c, err)
		}
	}
	return answer, nil
}

func vtyAnswer(r io.Reader) (string, error) {
	var all []byte
	buf := make([]byte, 64<<10)
	for len(all) < maxAnswer {
		n, err := r.Read(buf)
		all = append(all, buf[:n]...)
		if end := len(all) - 4; end >= 0 && bytes.Equal(all[end:end+3], []byte{0, 0, 0}) {
			if status := all[end+3]; status != 0 {
				return "", fmt.Errorf("status %d: %s", status, bytes.TrimSpace(all[:end]))
			}
			return string(all[:end]), nil
		}
		if err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("an answer of more than %d bytes", maxAnswer)
}

// birdc asks BIRD as birdc does: a line, answered by lines that begin with a code of four digits and a
// minus while more of them follow, or with a space where the code is the one before (BIRD's reply codes;
// 8000 and above are errors).
func birdc(ctx context.Context, socket, command string) (answer []string, err error) {
	conn, err := dial(ctx, socket)
	if err != nil {
		return nil, fmt.Errorf("ask BIRD: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	in := bufio.NewReader(io.LimitReader(conn, maxAnswer))
	if _, err := birdAnswer(in); err != nil { // its greeting
		return nil, fmt.Errorf("ask BIRD: %w", err)
	}
	if _, err := fmt.Fprintf(conn, "%s\n", command); err != nil {
		return nil, fmt.Errorf("ask BIRD %q: %w", command, err)
	}
	if answer, err = birdAnswer(in); err != nil {
		return nil, fmt.Errorf("ask BIRD %q: %w", command, err)
	}
	return answer, nil
}

// birdAnswer reads one answer; its lines have no codes.
func birdAnswer(in *bufio.Reader) ([]string, error) {
	var out []string
	for {
		text, err := in.ReadString('\n')
		if err != nil {
			return nil, err
		}
		text = strings.TrimRight(text, "\r\n")
		switch {
		case strings.HasPrefix(text, " "), strings.HasPrefix(text, "+"):
			out = append(out, text[1:])
		case len(text) < 5:
			return nil, fmt.Errorf("a line without a code: %q", text)
		case text[0] >= '8':
			return nil, errors.New(text[5:])
		case text[4] == '-':
			out = append(out, text[5:])
		default:
			if rest := text[5:]; rest != "" {
				out = append(out, rest)
			}
			return out, nil
		}
	}
}
