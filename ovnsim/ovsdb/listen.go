package ovsdb

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// TLS are the files of ovn-nbctl's -p, -c and -C, PEM. Clients must show a certificate of CA.
type TLS struct{ PrivateKey, Certificate, CA string }

// config reads the files.
func (t TLS) config() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(t.Certificate, t.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	text, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, fmt.Errorf("read CA certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("read CA certificate %s: no certificate in it", t.CA)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	}, nil
}

// listenAll opens all addresses or none.
func listenAll(ctx context.Context, cfg Config) ([]net.Listener, error) {
	var out []net.Listener
	for _, addr := range append([]string{cfg.Listen}, cfg.Also...) {
		l, err := listen(ctx, addr, cfg.TLS)
		if err != nil {
			for _, l := range out {
				_ = l.Close()
			}
			return nil, fmt.Errorf("listen for OVSDB clients at %s: %w", addr, err)
		}
		out = append(out, l)
	}
	return out, nil
}

func listen(ctx context.Context, addr string, files TLS) (net.Listener, error) {
	kind, rest, ok := strings.Cut(addr, ":")
	if !ok || strings.HasPrefix(addr, "/") {
		kind, rest = "punix", addr
	}
	switch kind {
	case "unix", "punix":
		return listenUnix(ctx, rest)
	case "ptcp", "pssl":
	default:
		return nil, fmt.Errorf("unknown method %q; want unix:PATH, ptcp:PORT[:IP] or pssl:PORT[:IP]", kind)
	}
	at, err := parsePort(rest)
	if err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", at.String())
	if err != nil || kind == "ptcp" {
		return l, err
	}
	cfg, err := files.config()
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	return tls.NewListener(l, cfg), nil
}

// parsePort reads PORT[:IP].
func parsePort(text string) (netip.AddrPort, error) {
	port, ip, _ := strings.Cut(text, ":")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("parse port: %w", err)
	}
	if ip == "" {
		ip = "127.0.0.1"
	}
	addr, err := netip.ParseAddr(strings.Trim(ip, "[]"))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("parse address: %w", err)
	}
	return netip.AddrPortFrom(addr, uint16(n)), nil
}

// listenUnix makes a socket; it is never open to others, not even between two system calls.
func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make directory of socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove stale socket: %w", err)
	}
	// The mode is set before bind gives the socket a name.
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var chmodErr error
		err := c.Control(func(fd uintptr) { chmodErr = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(err, chmodErr)
	}}
	return private.Listen(ctx, "unix", path)
}
