package api

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	sigsyaml "sigs.k8s.io/yaml"
)

func TestMonitors(t *testing.T) {
	usual := func(kind string, change func(*Monitor)) Monitor {
		m := Monitor{Type: kind, Interval: metav1.Duration{Duration: 5 * time.Second}, Timeout: metav1.Duration{Duration: 3 * time.Second}, Rise: 2, Fall: 3}
		if change != nil {
			change(&m)
		}
		return m
	}
	times := func(interval, timeout time.Duration, fall int) func(*Monitor) {
		return func(m *Monitor) {
			m.Interval.Duration, m.Timeout.Duration, m.Fall = interval, timeout, fall
		}
	}
	for _, tt := range []struct {
		name     string
		text     string
		want     Monitors
		warnings []string // what each holds
	}{
		{"none", "null", nil, nil},
		{"a word", "tcp", Monitors{usual("tcp", nil)}, nil},
		{"words", "[tcp, icmp]", Monitors{usual("tcp", nil), usual("icmp", nil)}, nil},
		{"a list", "[{type: TCP, interval: 10, timeout: 2}, {type: udp, send: x, recv: y}]", Monitors{
			usual("tcp", times(10*time.Second, 2*time.Second, 3)), usual("udp", func(m *Monitor) { m.Send, m.Receive = "x", "y" })}, nil},
		{"one without a list", "{type: icmp, rise: 1, fall: 5}", Monitors{usual("icmp", func(m *Monitor) { m.Rise, m.Fall = 1, 5 })}, nil},
		{"by type", "{tcp: {interval: 1}, icmp: null, udp: true, https: false}", Monitors{
			usual("icmp", nil), usual("tcp", times(time.Second, time.Second, 3)), usual("udp", nil)}, nil},
		{"lists by type", "{tcp: [{port: 81}, {port: 82}]}", Monitors{
			usual("tcp", func(m *Monitor) { m.Port = 81 }), usual("tcp", func(m *Monitor) { m.Port = 82 })}, nil},
		{"a list by type", "[{tcp: {interval: 0.5}}]", Monitors{usual("tcp", times(500*time.Millisecond, 500*time.Millisecond, 3))}, nil},
		{"BIG-IP's names and times", "[{type: gateway_icmp, interval: 5, timeout: 16}]", Monitors{usual("icmp", times(5*time.Second, 5*time.Second, 3))}, nil},
		{"BIG-IP's times with fall", "[{type: tcp, interval: 5, timeout: 31, fall: 2}]", Monitors{usual("tcp", times(5*time.Second, 5*time.Second, 2))}, nil},
		{"durations", `[{type: tcp, interval: 250ms, timeout: "100ms"}]`, Monitors{usual("tcp", times(250*time.Millisecond, 100*time.Millisecond, 3))}, nil},
		{"http", `[{type: http, path: "/healthz?x=1", host: app, status: 200, body: ok, port: 8081}, {type: https, status: "200-204"}]`, Monitors{
			usual("http", func(m *Monitor) {
				m.Path, m.Host, m.Status, m.Body, m.Port = "/healthz?x=1", "app", StatusRange{200, 200}, "ok", 8081
			}),
			usual("https", func(m *Monitor) { m.Status = StatusRange{200, 204} })}, nil},
		{"an unknown type", "[{type: mysql}, tcp]", Monitors{usual("tcp", nil)}, []string{`m.yaml:6:21: monitor "mysql" is not known`}},
		{"an unknown type as a key", "{inband: {}}", nil, []string{`monitor "inband" is not known`}},
		{"an unknown field", "[{type: tcp, adaptive: true}]", Monitors{usual("tcp", nil)}, []string{`field "adaptive" of a monitor of type tcp is not known`}},
		{"a field of another type", "[{type: icmp, send: x, port: 1}]", Monitors{usual("icmp", nil)}, []string{`field "send"`, `field "port"`}},
		{"times out of range", "[{type: tcp, interval: 0, timeout: 1h30}]", Monitors{usual("tcp", nil)}, []string{`interval of a monitor is "0"`, `timeout of a monitor is "1h30"`}},
		{"times far out of range", "[{type: tcp, interval: 18446744073709551615, timeout: 1e300}]", Monitors{usual("tcp", nil)}, []string{"interval", "timeout"}},
		{"counts out of range", "[{type: tcp, rise: 0, fall: x, port: 65536}]", Monitors{usual("tcp", nil)}, []string{"rise", "fall", "port"}},
		{"no path", "[{type: http, path: 'http://x/'}]", Monitors{usual("http", nil)}, []string{"write one like /healthz"}},
		{"no status", "[{type: http, status: 2xx}, {type: http, status: [200]}, {type: http, status: 300-200}]", Monitors{usual("http", nil), usual("http", nil), usual("http", nil)}, []string{"status", "status", "status"}},
		{"no text", "[{type: tcp, send: 1}]", Monitors{usual("tcp", nil)}, []string{"send of a monitor is a number"}},
		{"no monitors", "7", nil, []string{"a number where monitors belong"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res, warnings, err := decodeString(t, "m.yaml", ingress("{destinationAddress: 192.0.2.1,\n  monitors: "+tt.text+"}"))
			if err != nil {
				t.Fatal(err)
			}
			got := res.IngressTCPs[0].Spec.Monitors
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if len(warnings) != len(tt.warnings) {
				t.Errorf("warnings %v, want %d", warnings, len(tt.warnings))
			}
			for i := range min(len(warnings), len(tt.warnings)) {
				if !strings.Contains(warnings[i].String(), tt.warnings[i]) {
					t.Errorf("warning %q, want %q", warnings[i], tt.warnings[i])
				}
			}
			stored, err := sigsyaml.Marshal(res.IngressTCPs[0])
			if err != nil {
				t.Fatal(err)
			}
			again, warnings, err := decodeString(t, "again.yaml", string(stored))
			if err != nil || len(warnings) != 0 {
				t.Fatalf("%v %v\n%s", err, warnings, stored)
			}
			if diff := cmp.Diff(got, again.IngressTCPs[0].Spec.Monitors); diff != "" {
				t.Errorf("the stored form differs:\n%s", diff)
			}
		})
	}
}

// FuzzMonitors holds that whatever is taken is complete and stable.
func FuzzMonitors(f *testing.F) {
	for _, seed := range []string{`"tcp"`, `[{"type":"http","path":"/x","status":"200-204"}]`, `{"tcp":[{"interval":5,"timeout":16}]}`, `[[["udp"]]]`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var m Monitors
		if m.UnmarshalJSON([]byte(text)) != nil {
			return
		}
		for _, one := range m {
			if one.Interval.Duration < minMonitorTime || one.Timeout.Duration < minMonitorTime || one.Timeout.Duration > one.Interval.Duration || one.Rise < 1 || one.Fall < 1 {
				t.Errorf("%q gives %+v", text, one)
			}
		}
		stored, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var again Monitors
		if err := again.UnmarshalJSON(stored); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, again); diff != "" {
			t.Errorf("%s\n%s", stored, diff)
		}
	})
}
