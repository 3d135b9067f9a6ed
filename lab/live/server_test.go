package live

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/topo/picture"
)

// hostile is a text that a page must show and never obey.
const hostile = `<img src=x onerror="document.title='owned'">`

// fake is a lab that says what the test wants.
type fake struct {
	inspection lab.Inspection
	conns      []lab.TMMConns
	events     []ctl.Event
	asked      int
}

func (f *fake) Inspect(context.Context) (*lab.Inspection, error) {
	f.asked++
	in := f.inspection
	return &in, nil
}

func (f *fake) Connections(context.Context, control.ConnQuery) ([]lab.TMMConns, error) {
	return f.conns, nil
}

func (f *fake) EventsSince(context.Context, int64) ([]ctl.Event, error) {
	return append([]ctl.Event{}, f.events...), nil
}

func (f *fake) Picture(context.Context) (picture.Picture, error) {
	return picture.Picture{Title: "spk (ovn)", Boxes: []picture.Box{
		{Node: picture.Node{Name: "f5-tmm-1", Kind: "tmm", State: picture.Good, Notes: []string{"1 of 2 virtual servers up"}}, Ports: []picture.Port{{Name: "net1", Segment: "s", Addresses: []string{"10.0.0.1/24"}}}},
		{Node: picture.Node{Name: "upstream", Kind: "router", State: picture.Bad}, Ports: []picture.Port{{Name: "eth0", Segment: "s"}}},
	}, Segments: []picture.Segment{{ID: "s", Name: "external", Kind: "bridge"}}}, nil
}

func newFake() *fake {
	vip, member := netip.MustParseAddrPort("192.0.2.10:80"), netip.MustParseAddrPort("10.131.1.100:8080")
	return &fake{
		inspection: lab.Inspection{Lab: "spk", Fabric: "ovn", Silent: map[string]string{"app-2": "connection refused"},
			TMMs: []control.Status{{
				Pod: "default/f5-tmm-1", Serving: true, Counters: map[string]uint64{"forwarded": 100, "drop_no_route": 0},
				BGP: control.BGPStatus{Peers: []bgp.Peer{{Addr: netip.MustParseAddr("10.0.0.254"), ASN: 64512, State: bgp.StateEstablished, Uptime: time.Minute}}},
				VirtualServers: []control.VirtualServerStatus{
					{Name: "spk-apps/web", Protocol: "tcp", Destination: vip, State: control.StateUp, Announced: true, Current: 2, Traffic: dataplane.Traffic{Connections: 1000, BytesIn: 5000},
						Members: []control.MemberStatus{{Address: member, State: control.MemberReady, Current: 2}}},
					{Name: "spk-apps/" + hostile, Protocol: "udp", Destination: vip, State: control.StateDown, Reason: "no endpoints"},
				},
				Conditions: []control.Condition{{Severity: "warning", Reason: control.ReasonNoEndpoints, Object: "F5SPKIngressUDP spk-apps/dns", Message: hostile}},
			}},
			Routers: []bgp.RouterState{{Name: "upstream", Peers: []bgp.Peer{{Addr: netip.MustParseAddr("10.0.0.1"), ASN: 64522, State: "ACTIVE", Error: "no route to host"}},
				Routes: []bgp.Route{{Prefix: netip.MustParsePrefix("192.0.2.10/32"), NextHops: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}}}},
		},
		conns: []lab.TMMConns{{TMM: "f5-tmm-1", ConnPage: dataplane.ConnPage{Matched: 3, Conns: []dataplane.Conn{
			{Source: netip.MustParseAddrPort("203.0.113.10:40000"), Destination: vip, TranslatedDestination: member, State: dataplane.Established, Idle: time.Second}}}}},
		events: []ctl.Event{{At: 1, Source: "f5-tmm-1", Kind: "vs-announced", Object: "192.0.2.10/32", Detail: hostile}, {At: 2, Source: "upstream", Kind: "route-learned", Object: "192.0.2.10/32"}},
	}
}

// serve starts a page.
func serve(t *testing.T, l Lab) *Server {
	t.Helper()
	s, err := Listen(t.Context(), l, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// answer is what a request without a client's memory gets.
func answer(t *testing.T, change func(*http.Request), url string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func TestGuard(t *testing.T) {
	s := serve(t, newFake())
	base := "http://" + s.host()
	owner := func(r *http.Request) { r.AddCookie(&http.Cookie{Name: s.cookie(), Value: s.token}) }
	for _, tc := range []struct {
		name, url string
		change    func(*http.Request)
		want      int
	}{
		{"no token", base + "/", nil, http.StatusForbidden},
		{"no token for the state", base + "/state", nil, http.StatusForbidden},
		{"no token for the picture", base + "/picture.svg", nil, http.StatusForbidden},
		{"a wrong token", base + "/?token=" + strings.Repeat("A", len(s.token)), nil, http.StatusForbidden},
		{"an empty token", base + "/?token=", nil, http.StatusForbidden},
		{"a part of the token", base + "/?token=" + s.token[:10], nil, http.StatusForbidden},
		{"the token", s.URL(), nil, http.StatusSeeOther},
		{"the token elsewhere than in the page's address", base + "/state?token=" + s.token, nil, http.StatusForbidden},
		{"the cookie", base + "/", owner, http.StatusOK},
		{"the cookie for the state", base + "/state", owner, http.StatusOK},
		{"a wrong cookie", base + "/state", func(r *http.Request) { r.AddCookie(&http.Cookie{Name: s.cookie(), Value: "x"}) }, http.StatusForbidden},
		{"another name for loopback", base + "/", func(r *http.Request) { owner(r); r.Host = "rebound.example:80" }, http.StatusMisdirectedRequest},
		{"another port", s.URL(), func(r *http.Request) { r.Host = "127.0.0.1:1" }, http.StatusMisdirectedRequest},
		{"writing", base + "/state", func(r *http.Request) { owner(r); r.Method = http.MethodPost }, http.StatusMethodNotAllowed},
		{"deleting", base + "/", func(r *http.Request) { owner(r); r.Method = http.MethodDelete }, http.StatusMethodNotAllowed},
		{"a file that is not there", base + "/server.go", owner, http.StatusNotFound},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp := answer(t, tc.change, tc.url)
			if resp.StatusCode != tc.want {
				t.Errorf("%s, want %d", resp.Status, tc.want)
			}
			if csp := resp.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") {
				t.Errorf("policy %q", csp)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil || tc.want >= 400 && strings.Contains(string(body), s.token) {
				t.Errorf("%v, body %s", err, body)
			}
		})
	}
	if !strings.HasPrefix(s.host(), "127.0.0.1:") {
		t.Errorf("listens on %s", s.host())
	}
	if other := serve(t, newFake()); other.token == s.token || len(s.token) < 43 {
		t.Errorf("tokens %s and %s", s.token, other.token)
	}
}

// TestOpen follows the address as a browser does.
func TestOpen(t *testing.T) {
	s := serve(t, newFake())
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar}
	get := func(url string) (*http.Response, string) {
		t.Helper()
		resp, err := c.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, %v", url, resp.Status, err)
		}
		return resp, string(body)
	}
	resp, _ := get(s.URL())
	if resp.Request.URL.RawQuery != "" {
		t.Errorf("the token stays in the address: %s", resp.Request.URL)
	}
	if _, body := get("http://" + s.host() + "/picture.svg"); !strings.HasPrefix(body, "<svg") {
		t.Errorf("picture: %.40s", body)
	}
	_, body := get("http://" + s.host() + "/state?since=1")
	var st State
	if err := json.Unmarshal([]byte(body), &st); err != nil {
		t.Fatal(err)
	}
	if len(st.Events) != 1 || st.Events[0].Kind != "route-learned" || st.Until <= 2 {
		t.Errorf("events after 1: %+v until %d", st.Events, st.Until)
	}
	if len(st.Sessions) != 2 || !st.Sessions[0].Up || st.Sessions[1].Up || len(st.VirtualServers) != 2 || st.FlowsBeyond != 2 || len(st.Flows) != 1 || len(st.Routes) != 1 {
		t.Errorf("state %+v", st)
	}
}

func TestRates(t *testing.T) {
	l := newFake()
	s := newSampler(l)
	now := time.Unix(1000, 0)
	s.now = func() time.Time { return now }
	sample := func() State {
		t.Helper()
		st, err := s.sample(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	if first := sample(); first.VirtualServers[0].Conns != 0 || first.Counters[0].Rate != 0 || len(first.Counters) != 1 {
		t.Errorf("rates at first sight: %+v", first)
	}
	grow := func(conns, counter uint64) {
		tmm := l.inspection.TMMs[0]
		vs := append([]control.VirtualServerStatus{}, tmm.VirtualServers...)
		vs[0].Connections = conns
		tmm.VirtualServers, tmm.Counters = vs, map[string]uint64{"forwarded": counter}
		l.inspection.TMMs = []control.Status{tmm}
	}
	grow(1100, 120)
	now = now.Add(fresh / 2)
	if again := sample(); again.VirtualServers[0].Total != 1000 || l.asked != 1 {
		t.Errorf("asked %d times within %s", l.asked, fresh)
	}
	now = now.Add(2*time.Second - fresh/2)
	if st := sample(); st.VirtualServers[0].Conns != 50 || st.Counters[0].Rate != 10 {
		t.Errorf("%v connections and %v packets a second, want 50 and 10", st.VirtualServers[0].Conns, st.Counters[0].Rate)
	}
	grow(5, 1) // a TMM that has been started again
	now = now.Add(time.Second)
	if st := sample(); st.VirtualServers[0].Conns != 0 || st.Counters[0].Rate != 0 {
		t.Errorf("rates of what began again: %+v", st)
	}
}
