package exgw_test

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
	"testing"
	"time"

	"github.com/spklab/spklab/ovnsim/exgw"
	"github.com/spklab/spklab/ovnsim/northbound"
	"github.com/spklab/spklab/ovnsim/ovsdb"
)

// freePort is a port that nobody listens at.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// authority is a CA that signs in a directory.
type authority struct {
	t    *testing.T
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	_, _ = a.sign("ca")
	return a
}

// sign makes a key and a certificate and returns their files; the first is the authority's own.
func (a *authority) sign(name string) (key, cert string) {
	a.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: a.cert == nil, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, by := template, k
	if a.cert != nil {
		parent, by = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &k.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	if a.cert == nil {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			a.t.Fatal(err)
		}
		a.key = k
	}
	private, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.pem(name+".key", "EC PRIVATE KEY", private), a.pem(name+".pem", "CERTIFICATE", der)
}

func (a *authority) pem(name, kind string, der []byte) string {
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// TestEndpoints reaches the database by each kind of endpoint; a server that somebody else signed is
// refused.
func TestEndpoints(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	for _, kind := range []string{ours, reference} {
		for _, tc := range []struct {
			name, listen string
			signer       *authority
			refused      bool
		}{
			{"tcp", "ptcp", nil, false},
			{"ssl", "pssl", ca, false},
			{"ssl of a stranger", "pssl", stranger, true},
		} {
			t.Run(kind+"/"+tc.name, func(t *testing.T) {
				port := freePort(t)
				b := newBenchOn(t, kind)
				b.stopDatabase()
				b.also = []string{fmt.Sprintf("%s:%d:127.0.0.1", tc.listen, port)}
				b.endpoint = fmt.Sprintf("tcp:127.0.0.1:%d", port)
				if tc.signer != nil {
					key, cert := tc.signer.sign("server")
					b.files = ovsdb.TLS{PrivateKey: key, Certificate: cert, CA: filepath.Join(ca.dir, "ca.pem")}
					key, cert = ca.sign("controller")
					b.tls = northbound.TLS{PrivateKey: key, Certificate: cert, CA: filepath.Join(ca.dir, "ca.pem")}
					b.endpoint = fmt.Sprintf("ssl:127.0.0.1:%d", port)
				}
				b.startDatabase()
				b.put("node.yaml", node)
				b.put("app-1.yaml", app("app-1", `"10.131.1.100/23"`, running))
				b.put("tmm-1.yaml", tmm{name: "tmm-1", ips: `"10.144.100.16"`}.String())
				if !tc.refused {
					b.start()
					b.holds("GR_worker-1 10.131.1.100 by 10.144.100.16")
					return
				}
				b.run()
				b.eventually(func() error {
					var st exgw.State
					if err := b.ask(&st); err != nil {
						return err
					}
					if st.Error == "" {
						return fmt.Errorf("no error, %d routes", len(st.Routes))
					}
					return nil
				})
			})
		}
	}
}
