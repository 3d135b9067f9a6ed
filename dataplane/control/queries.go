package control

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/bgp"
)

// Paths of the control socket beside ctl's own.
const (
	PathConnections = "/v1/connections" // dataplane.ConnPage; its query is a ConnQuery
	PathMaps        = "/v1/maps"        // []dataplane.MapStats
)

// How many connections one answer holds.
const (
	DefaultConnLimit = 100
	MaxConnLimit     = 10000
)

// ConnQuery chooses connections. Its zero value chooses DefaultConnLimit of all.
type ConnQuery struct {
	VIP    AddrMatch // where the client wanted to go
	Client AddrMatch // who began
	Member AddrMatch // who got it
	Limit  int       // 0 = DefaultConnLimit, at most MaxConnLimit
}

// AddrMatch matches an address, a prefix, or an address with a port; its zero value everything.
type AddrMatch struct {
	Prefix netip.Prefix
	Port   uint16 // 0: every port
}

// ParseAddrMatch reads "192.0.2.10", "192.0.2.0/24", "192.0.2.10:80" and "[2001:db8::10]:80".
func ParseAddrMatch(s string) (AddrMatch, error) {
	if s == "" {
		return AddrMatch{}, nil
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		return AddrMatch{Prefix: p.Masked()}, nil
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return AddrMatch{Prefix: netip.PrefixFrom(a, a.BitLen())}, nil
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return AddrMatch{}, fmt.Errorf("%q is no address; write one like 192.0.2.10, 192.0.2.0/24 or 192.0.2.10:80", s)
	}
	return AddrMatch{Prefix: netip.PrefixFrom(ap.Addr(), ap.Addr().BitLen()), Port: ap.Port()}, nil
}

// String is what ParseAddrMatch reads.
func (m AddrMatch) String() string {
	switch {
	case !m.Prefix.IsValid():
		return ""
	case m.Port != 0:
		return netip.AddrPortFrom(m.Prefix.Addr(), m.Port).String()
	case m.Prefix.IsSingleIP():
		return m.Prefix.Addr().String()
	}
	return m.Prefix.String()
}

// Matches says whether the address and port are among those meant.
func (m AddrMatch) Matches(a netip.AddrPort) bool {
	return !m.Prefix.IsValid() || m.Prefix.Contains(a.Addr()) && (m.Port == 0 || m.Port == a.Port())
}

// Path is PathConnections with the query.
func (q ConnQuery) Path() string {
	v := url.Values{}
	for name, m := range map[string]AddrMatch{"vip": q.VIP, "client": q.Client, "member": q.Member} {
		if text := m.String(); text != "" {
			v.Set(name, text)
		}
	}
	if q.Limit != 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return PathConnections + "?" + v.Encode()
}

// parseConnQuery reads what Path writes.
func parseConnQuery(v url.Values) (ConnQuery, error) {
	q := ConnQuery{Limit: DefaultConnLimit}
	for name, m := range map[string]*AddrMatch{"vip": &q.VIP, "client": &q.Client, "member": &q.Member} {
		var err error
		if *m, err = ParseAddrMatch(v.Get(name)); err != nil {
			return q, fmt.Errorf("%s: %w", name, err)
		}
	}
	if text := v.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > MaxConnLimit {
			return q, fmt.Errorf("limit %q: write 0 to %d", text, MaxConnLimit)
		}
		q.Limit = n
	}
	return q, nil
}

func (q ConnQuery) matches(c *dataplane.Conn) bool {
	return q.VIP.Matches(c.Destination) && q.Client.Matches(c.Source) && q.Member.Matches(c.TranslatedDestination)
}

// queries are the handlers of the paths above and of the speaker's.
func (p *proxy) queries() map[string]http.HandlerFunc {
	plane := p.plane
	return map[string]http.HandlerFunc{
		"GET " + PathConnections: func(w http.ResponseWriter, r *http.Request) {
			q, err := parseConnQuery(r.URL.Query())
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			page, err := plane.FindConnections(q.matches, q.Limit)
			answer(w, page, err)
		},
		"GET " + PathMaps: func(w http.ResponseWriter, _ *http.Request) {
			maps, err := plane.Maps()
			answer(w, maps, err)
		},
		"GET " + bgp.PathRIB: bgp.ServeRIB(func(ctx context.Context) (bgp.RIB, error) {
			snap := p.rec.snapshot()
			return snap.rib(ctx)
		}),
	}
}

func answer(w http.ResponseWriter, doc any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	ctl.WriteJSON(w, doc)
}
