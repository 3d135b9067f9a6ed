package dns46

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// zone answers as an upstream that knows these records.
type zone []string

func (z zone) exchange(_ context.Context, _ string, q *dns.Msg, _ string) (*dns.Msg, error) {
	r := new(dns.Msg)
	r.SetReply(q)
	for _, text := range z {
		rr, err := dns.NewRR(text)
		if err != nil {
			return nil, err
		}
		if rr.Header().Name == q.Question[0].Name && (rr.Header().Rrtype == q.Question[0].Qtype || rr.Header().Rrtype == dns.TypeCNAME) {
			r.Answer = append(r.Answer, rr)
		}
	}
	return r, nil
}

func testProxy(t *testing.T, subnet string, z zone) (*Proxy, *map[netip.Addr]netip.Addr) {
	t.Helper()
	programmed := &map[netip.Addr]netip.Addr{}
	p, err := New(Config{
		Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Upstream: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")},
		Subnet: netip.MustParsePrefix(subnet), MaxTTL: 2 * time.Minute,
		Map: func(m map[netip.Addr]netip.Addr) error { *programmed = m; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	p.exchange = z.exchange
	return p, programmed
}

func (p *Proxy) lookup(name string, typ uint16) string {
	q := new(dns.Msg)
	q.SetQuestion(name, typ)
	r := p.answer(context.Background(), "udp", q)
	var lines []string
	for _, rr := range r.Answer {
		lines = append(lines, strings.Join(strings.Fields(rr.String()), " "))
	}
	return fmt.Sprintf("%s %s", dns.RcodeToString[r.Rcode], strings.Join(lines, "; "))
}

func TestAnswer(t *testing.T) {
	p, programmed := testProxy(t, "10.2.2.0/24", zone{
		"both.example. 300 IN A 203.0.113.5", "both.example. 300 IN AAAA 2001:db8::5",
		"six.example. 300 IN AAAA 2001:db8::6", "six.example. 30 IN AAAA 2001:db8::7",
		"again.example. 60 IN AAAA 2001:db8::6",
		"text.example. 60 IN TXT hello",
	})
	for _, tt := range []struct {
		name string
		typ  uint16
		want string
	}{
		{"both.example.", dns.TypeA, "NOERROR both.example. 300 IN A 203.0.113.5"},
		{"six.example.", dns.TypeA, "NOERROR six.example. 120 IN A 10.2.2.1; six.example. 30 IN A 10.2.2.2"},
		{"again.example.", dns.TypeA, "NOERROR again.example. 60 IN A 10.2.2.1"},
		{"six.example.", dns.TypeAAAA, "NOERROR six.example. 300 IN AAAA 2001:db8::6; six.example. 30 IN AAAA 2001:db8::7"},
		{"text.example.", dns.TypeTXT, `NOERROR text.example. 60 IN TXT "hello"`},
		{"none.example.", dns.TypeA, "NOERROR "},
	} {
		if got := p.lookup(tt.name, tt.typ); got != tt.want {
			t.Errorf("%s %s: %s, want %s", tt.name, dns.TypeToString[tt.typ], got, tt.want)
		}
	}
	want := map[string]string{"10.2.2.1": "2001:db8::6", "10.2.2.2": "2001:db8::7"}
	got := map[string]string{}
	for four, six := range *programmed {
		got[four.String()] = six.String()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("programmed (-want +got):\n%s", diff)
	}
}

// TestExhausted: when every address stands for something, a name is refused until one has run out.
func TestExhausted(t *testing.T) {
	p, _ := testProxy(t, "10.2.2.0/30", zone{
		"a.example. 30 IN AAAA 2001:db8::a", "b.example. 30 IN AAAA 2001:db8::b", "c.example. 30 IN AAAA 2001:db8::c",
	})
	now := time.Unix(1000, 0)
	p.now = func() time.Time { return now }
	for _, tt := range []struct{ name, want string }{
		{"a.example.", "NOERROR a.example. 30 IN A 10.2.2.1"},
		{"b.example.", "NOERROR b.example. 30 IN A 10.2.2.2"},
		{"c.example.", "SERVFAIL "},
	} {
		if got := p.lookup(tt.name, dns.TypeA); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	now = now.Add(time.Hour)
	if got, want := p.lookup("c.example.", dns.TypeA), "NOERROR c.example. 30 IN A 10.2.2.1"; got != want {
		t.Errorf("later: %s, want %s", got, want)
	}
}

// TestHeld: an address stands for the same host for as long as anybody may keep its answer, and
// the proxy's own TTL (120 s) longer. Of the subnet's two addresses a third name waits for one.
func TestHeld(t *testing.T) {
	type step struct {
		at         int // seconds
		name, want string
	}
	const busy = "SERVFAIL "
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"for both times", []step{
			{0, "a.", "NOERROR a. 30 IN A 10.2.2.1"}, {0, "b.", "NOERROR b. 120 IN A 10.2.2.2"},
			{125, "c.", busy}, {149, "c.", busy}, {151, "c.", "NOERROR c. 30 IN A 10.2.2.1"},
		}},
		{"anew with each answer", []step{
			{0, "a.", "NOERROR a. 30 IN A 10.2.2.1"}, {0, "b.", "NOERROR b. 120 IN A 10.2.2.2"},
			{100, "a.", "NOERROR a. 30 IN A 10.2.2.1"}, {151, "c.", busy}, {241, "c.", "NOERROR c. 30 IN A 10.2.2.2"},
		}},
		{"not shorter by an answer that may be kept for less", []step{
			{0, "long.a.", "NOERROR long.a. 120 IN A 10.2.2.1"}, {0, "b.", "NOERROR b. 120 IN A 10.2.2.2"},
			{1, "a.", "NOERROR a. 30 IN A 10.2.2.1"}, {200, "c.", busy},
		}},
		{"and whom it stood for before has another one", []step{
			{0, "a.", "NOERROR a. 30 IN A 10.2.2.1"}, {0, "b.", "NOERROR b. 120 IN A 10.2.2.2"},
			{151, "c.", "NOERROR c. 30 IN A 10.2.2.1"}, {152, "a.", busy}, {241, "a.", "NOERROR a. 30 IN A 10.2.2.2"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := testProxy(t, "10.2.2.0/30", zone{
				"a. 30 IN AAAA 2001:db8::a", "long.a. 300 IN AAAA 2001:db8::a", "b. 300 IN AAAA 2001:db8::b", "c. 30 IN AAAA 2001:db8::c",
			})
			for _, s := range tt.steps {
				p.now = func() time.Time { return time.Unix(1000+int64(s.at), 0) }
				if got := p.lookup(s.name, dns.TypeA); got != s.want {
					t.Errorf("%s after %d s: %s, want %s", s.name, s.at, got, s.want)
				}
			}
		})
	}
}

// TestKnown: what a proxy before this one has told its clients goes on standing for the same, and
// is handed out again only when nobody may use it any more.
func TestKnown(t *testing.T) {
	var programmed map[netip.Addr]netip.Addr
	p, err := New(Config{
		Listen: make([]netip.AddrPort, 1), Upstream: make([]netip.AddrPort, 1),
		Subnet: netip.MustParsePrefix("10.2.2.0/30"), MaxTTL: time.Minute,
		Map: func(m map[netip.Addr]netip.Addr) error { programmed = m; return nil },
		Known: map[netip.Addr]netip.Addr{
			netip.MustParseAddr("10.2.2.1"): netip.MustParseAddr("2001:db8::a"),
			netip.MustParseAddr("10.9.9.9"): netip.MustParseAddr("2001:db8::9"),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	p.exchange = zone{"a.example. 30 IN AAAA 2001:db8::a", "b.example. 30 IN AAAA 2001:db8::b", "c.example. 30 IN AAAA 2001:db8::c"}.exchange
	for _, tt := range []struct{ name, want string }{
		{"b.example.", "NOERROR b.example. 30 IN A 10.2.2.2"},
		{"a.example.", "NOERROR a.example. 30 IN A 10.2.2.1"},
		{"c.example.", "SERVFAIL "},
	} {
		if got := p.lookup(tt.name, dns.TypeA); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	if six, ok := programmed[netip.MustParseAddr("10.2.2.1")]; !ok || six != netip.MustParseAddr("2001:db8::a") || len(programmed) != 2 {
		t.Errorf("programmed %v", programmed)
	}
	p.now = func() time.Time { return time.Now().Add(3 * time.Minute) }
	if got, want := p.lookup("c.example.", dns.TypeA), "NOERROR c.example. 30 IN A 10.2.2.1"; got != want {
		t.Errorf("later: %s, want %s", got, want)
	}
}

// TestNotProgrammed: an address that the packet path does not know is not told to anybody.
func TestNotProgrammed(t *testing.T) {
	p, _ := testProxy(t, "10.2.2.0/24", zone{"a.example. 30 IN AAAA 2001:db8::a"})
	p.mappings.apply = func(map[netip.Addr]netip.Addr) error { return errors.New("map is full") }
	if got, want := p.lookup("a.example.", dns.TypeA), "SERVFAIL "; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if n := len(p.Mappings()); n != 0 {
		t.Errorf("%d mappings", n)
	}
}

// TestRun asks over the network, in both transports.
func TestRun(t *testing.T) {
	at := netip.MustParseAddrPort("127.0.0.1:15353")
	p, err := New(Config{Listen: []netip.AddrPort{at}, Upstream: []netip.AddrPort{at}, Subnet: netip.MustParsePrefix("10.2.2.0/24"), MaxTTL: time.Minute,
		Map: func(map[netip.Addr]netip.Addr) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	p.exchange = zone{"a.example. 30 IN AAAA 2001:db8::a"}.exchange
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	for _, network := range []string{"udp", "tcp"} {
		if r, err := askUntil(t, network, at.String()); err != nil || len(r.Answer) != 1 {
			t.Errorf("%s: %v, %v", network, r, err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRunFreesWhatItBound: where one address is taken, none stays bound.
func TestRunFreesWhatItBound(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	at := netip.MustParseAddrPort(taken.Addr().String())
	p, err := New(Config{Listen: []netip.AddrPort{at}, Upstream: []netip.AddrPort{at}, Subnet: netip.MustParsePrefix("10.2.2.0/24"), MaxTTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("Run: %v", err)
	}
	udp, err := net.ListenPacket("udp", at.String())
	if err != nil {
		t.Fatalf("after Run: %v", err)
	}
	if err := udp.Close(); err != nil {
		t.Error(err)
	}
}

// TestShutBeforeServing: a server that is shut before it has begun does not begin.
func TestShutBeforeServing(t *testing.T) {
	servers, err := listen([]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	shut(servers)
	for _, s := range servers {
		if err := s.ActivateAndServe(); err == nil {
			t.Errorf("%s serves on a closed socket", s.Net)
		}
	}
}

// askUntil asks until the server is up.
func askUntil(t *testing.T, network, server string) (r *dns.Msg, err error) {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion("a.example.", dns.TypeA)
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if r, err = exchange(t.Context(), network, q, server); err == nil {
			break
		}
	}
	return r, err
}

func TestNewRefuses(t *testing.T) {
	good := Config{Listen: make([]netip.AddrPort, 1), Upstream: make([]netip.AddrPort, 1), Subnet: netip.MustParsePrefix("10.2.2.0/24"), MaxTTL: time.Minute}
	for name, spoil := range map[string]func(*Config){
		"no address to listen on": func(c *Config) { c.Listen = nil },
		"no name server":          func(c *Config) { c.Upstream = nil },
		"want an IPv4 prefix":     func(c *Config) { c.Subnet = netip.MustParsePrefix("2001:db8::/64") },
		"at least a second":       func(c *Config) { c.MaxTTL = 0 },
	} {
		c := good
		spoil(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, want %q", err, name)
		}
	}
}
