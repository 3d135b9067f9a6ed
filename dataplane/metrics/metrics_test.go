package metrics

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// example is a TMM with one of everything, and with a member that was removed and has come back
// while it had connections.
func example() (control.Status, error) {
	member := func(addr, state string, n int) control.MemberStatus {
		return control.MemberStatus{Address: netip.MustParseAddrPort(addr), State: state, Current: n, Traffic: dataplane.Traffic{
			Connections: 10, PacketsIn: 40, PacketsOut: 30, BytesIn: 4000, BytesOut: 3000,
		}}
	}
	return control.Status{
		Pod: "default/f5-tmm-1", Serving: true,
		VirtualServers: []control.VirtualServerStatus{
			{
				Name: "spk-apps/web", Protocol: "tcp", Destination: netip.MustParseAddrPort("192.0.2.10:80"),
				State: control.StateUp, Announced: true, Current: 3, Refused: 2,
				Traffic: dataplane.Traffic{Connections: 30, PacketsIn: 120, PacketsOut: 90, BytesIn: 12000, BytesOut: 9000},
				Members: []control.MemberStatus{member("10.131.1.100:8080", control.MemberReady, 1)},
				Out:     []control.MemberStatus{member("10.131.1.100:8080", control.MemberRemoved, 1), member("10.131.1.101:8080", control.MemberDown, 1)},
			},
			{Name: "spk-apps/net", Protocol: "udp", Destination: netip.MustParseAddrPort("[2001:db8:7::]:53"), HostBits: 64, State: control.StateDown},
		},
		Egresses:   []control.EgressStatus{{Name: "spk-apps/out", Programmed: true, Current: 5}},
		Conditions: []control.Condition{{Severity: "warning", Reason: control.ReasonNoEndpoints}},
		BGP: control.BGPStatus{
			ASN:       65001,
			Peers:     []bgp.Peer{{Addr: netip.MustParseAddr("198.51.100.1"), ASN: 65000, State: bgp.StateEstablished}, {Addr: netip.MustParseAddr("2001:db8:51::1"), ASN: 65000, State: "active"}},
			Announced: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/32")},
		},
		PodIPs: []netip.Addr{netip.MustParseAddr("10.131.0.3")},
		Conntrack: control.ConntrackStatus{
			IPv4: dataplane.TableStats{Connections: 3, MaxConnections: 131072, HalfOpen: 1, MaxHalfOpen: 65536},
			IPv6: dataplane.TableStats{MaxConnections: 131072, MaxHalfOpen: 65536},
		},
		Counters:  map[string]uint64{"drop_no_flow": 7, "drop_no_route": 0, "flows_started": 30},
		Frontends: []dataplane.FrontendStatus{{Number: "1.1", Name: "net1", Choice: dataplane.Choice{Frontend: dataplane.FrontendTCX}}},
	}, nil
}

// observed is a TMM with this state and one map.
func observed(status func() (control.Status, error)) control.Observed {
	return control.Observed{Status: status, MapSizes: func() ([]dataplane.MapStats, error) {
		return []dataplane.MapStats{{Name: "spk_ct4", MaxEntries: 262144, Memory: 4096}}, nil
	}}
}

func TestExposition(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(newCollector(observed(example))); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&got, f); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join("testdata", "example.prom")
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("-update rewrites it (-want +got):\n%s", diff)
	}
}

// TestLint holds the names and units against the conventions.
func TestLint(t *testing.T) {
	problems, err := testutil.CollectAndLint(newCollector(observed(example)))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestHandler(t *testing.T) {
	broken := func() (control.Status, error) { return control.Status{}, errors.New("the maps are gone") }
	tests := []struct {
		name, method, path string
		status             func() (control.Status, error)
		code               int
		body               string
	}{
		{"metrics", http.MethodGet, Path, example, http.StatusOK, `spkproxy_drops_total{reason="no_flow"} 7`},
		{"the process's own", http.MethodGet, Path, example, http.StatusOK, "process_resident_memory_bytes"},
		{"no state", http.MethodGet, Path, broken, http.StatusInternalServerError, "the maps are gone"},
		{"another path", http.MethodGet, "/", example, http.StatusNotFound, ""},
		{"another method", http.MethodPost, Path, example, http.StatusMethodNotAllowed, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, err := handler(observed(tt.status))
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
			body, err := io.ReadAll(w.Body)
			if err != nil {
				t.Fatal(err)
			}
			if w.Code != tt.code || !strings.Contains(string(body), tt.body) {
				t.Errorf("%d, want %d with %q:\n%s", w.Code, tt.code, tt.body, body)
			}
		})
	}
}

// TestNoMaps: half an answer would be taken for a whole one.
func TestNoMaps(t *testing.T) {
	tmm := observed(example)
	tmm.MapSizes = func() ([]dataplane.MapStats, error) { return nil, errors.New("the maps are gone") }
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(newCollector(tmm)); err != nil {
		t.Fatal(err)
	}
	if _, err := reg.Gather(); err == nil || !strings.Contains(err.Error(), "the maps are gone") {
		t.Errorf("gathered with %v", err)
	}
}

func TestAwaitAllowed(t *testing.T) {
	tests := []struct {
		name, addr string
		unknown    int // answers before the pod's addresses are known
		fault      string
	}{
		{"loopback", "127.0.0.1", 1 << 30, ""},
		{"loopback over IPv6", "::1", 1 << 30, ""},
		{"loopback, mapped", "::ffff:127.0.0.1", 1 << 30, ""},
		{"the pod's own", "10.131.0.3", 0, ""},
		{"the pod's own, known later", "10.131.0.3", 2, ""},
		{"a self-IP", "198.51.100.16", 0, "serve metrics: 198.51.100.16 is neither an address of the loopback nor one of the pod's own, [10.131.0.3]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				err := awaitAllowed(ctx, netip.MustParseAddr(tt.addr), func() (control.Status, error) {
					if asked++; asked <= tt.unknown {
						return control.Status{}, nil
					}
					return example()
				})
				if got := errorText(err); got != tt.fault || ctx.Err() != nil {
					t.Errorf("%q (%v), want %q", got, ctx.Err(), tt.fault)
				}
			})
		})
	}
}

func TestParseAddr(t *testing.T) {
	tests := []struct{ text, fault string }{
		{"127.0.0.1:9179", ""},
		{"[::1]:9179", ""},
		{"10.131.1.7:9179", ""},
		{"0.0.0.0:9179", `"0.0.0.0:9179": would answer on every interface; name the loopback or the pod's address, as in 127.0.0.1:9179`},
		{"[::]:9179", `"[::]:9179": would answer on every interface; name the loopback or the pod's address, as in 127.0.0.1:9179`},
		{":9179", `":9179": write ADDRESS:PORT, as in 127.0.0.1:9179 or [::1]:9179`},
		{"localhost:9179", `"localhost:9179": write ADDRESS:PORT, as in 127.0.0.1:9179 or [::1]:9179`},
		{"224.0.0.1:9179", `"224.0.0.1:9179": want a unicast address and a port from 1 to 65535`},
		{"127.0.0.1:0", `"127.0.0.1:0": want a unicast address and a port from 1 to 65535`},
	}
	for _, tt := range tests {
		_, err := ParseAddr(tt.text)
		if got := errorText(err); got != tt.fault {
			t.Errorf("%s:\n got %s\nwant %s", tt.text, got, tt.fault)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
