package ovsdb

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// authority is a CA for one test.
type authority struct {
	t    *testing.T
	dir  string
	name string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir(), name: name}
	template := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.key, a.cert = a.sign(name, template, nil, nil)
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// sign makes NAME.pem and NAME.key; without a parent they sign themselves.
func (a *authority) sign(name string, c, parent *x509.Certificate, by *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for suffix, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "EC PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(a.file(name+suffix), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return key, cert
}

// issue makes a certificate for a server and a client at loopback.
func (a *authority) issue(name string) TLS {
	a.sign(name, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature}, a.cert, a.key)
	return TLS{PrivateKey: a.file(name + ".key"), Certificate: a.file(name + ".pem"), CA: a.file(a.name + ".pem")}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// TestListeners: ovn-nbctl comes by a unix socket, by TCP, and by TLS with a certificate of the
// right authority; without one, or with another's, it is turned away.
func TestListeners(t *testing.T) {
	needPrograms(t, "ovn-nbctl")
	ca, stranger := newAuthority(t, "ca"), newAuthority(t, "stranger")
	server, client, other := ca.issue("server"), ca.issue("client"), stranger.issue("client")
	other.CA = client.CA
	tcp, ssl := freePort(t), freePort(t)
	unix, _ := startWith(t, Config{Also: []string{"ptcp:" + tcp, "pssl:" + ssl + ":127.0.0.1"}, TLS: server})
	for _, c := range []struct {
		name, db string
		tls      TLS
		ok       bool
	}{
		{"unix", "unix:" + unix, TLS{}, true},
		{"tcp", "tcp:127.0.0.1:" + tcp, TLS{}, true},
		{"ssl", "ssl:127.0.0.1:" + ssl, client, true},
		{"ssl with a stranger's certificate", "ssl:127.0.0.1:" + ssl, other, false},
		{"tcp to the ssl port", "tcp:127.0.0.1:" + ssl, TLS{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			timeout := map[bool]int{true: 30, false: 2}[c.ok] // who is turned away tries again until then
			args := []string{"--db=" + c.db, "--no-leader-only", fmt.Sprintf("--timeout=%d", timeout), "-vconsole:off"}
			if c.tls != (TLS{}) {
				args = append(args, "-p", c.tls.PrivateKey, "-c", c.tls.Certificate, "-C", c.tls.CA)
			}
			got := command(t, unix, "ovn-nbctl", append(args, "--may-exist", "lr-add", "r", "--", "lr-list")...)
			if ok := got.Code == 0 && strings.Contains(got.Stdout, "r"); ok != c.ok {
				t.Errorf("%+v", got)
			}
		})
	}
	if info, err := os.Stat(unix); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", info.Mode(), err)
	}
}

// TestBadAddresses: what cannot be listened at is said, and nothing stays open.
func TestBadAddresses(t *testing.T) {
	for _, addr := range []string{"frob:1", "ptcp:x", "ptcp:1:nowhere", "pssl:0", "ptcp:99999"} {
		if _, err := listenAll(t.Context(), Config{Listen: filepath.Join(t.TempDir(), "s"), Also: []string{addr}}); err == nil || !strings.Contains(err.Error(), addr) {
			t.Errorf("%s: %v", addr, err)
		}
	}
}
