package router

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/bgp"
)

// maxPaths is how many equal paths a router uses.
const maxPaths = 64

// frr is FRR 8.4 and later: zebra for the kernel's routes, bgpd, bfdd.
func frr() maker {
	program := func(name string, more ...string) daemon {
		return daemon{
			program: "/usr/lib/frr/" + name, socket: name + ".vty",
			args: append([]string{
				// FRR makes the path of a file absolute, and may not look into the directories above.
				"-f", "/proc/self/cwd/" + name + ".conf", "-i", name + ".pid", "--vty_socket", ".", "-z", "zserv.api", "-P", "0", "--log", "stdout",
			}, more...),
		}
	}
	return maker{
		debian: "frr", user: "frr", protocol: unix.RTPROT_BGP, files: frrFiles,
		daemons: []daemon{program("zebra"), program("bfdd", "--bfdctl", "bfdd.sock"), program("bgpd", "-p", fmt.Sprint(bgp.Port))},
		peers:   frrPeers, bfd: frrBFDStates, rib: frrRIB, lines: frrLines(),
	}
}

func frrFiles(c bgp.RouterConfig) []file {
	return []file{
		// Routes with their next hops in them are what every reader of the kernel's table understands.
		{"zebra.conf", fmt.Sprintf("hostname %s\nno zebra nexthop kernel enable\n", c.Name)},
		{"bfdd.conf", frrBFD(c)},
		{"bgpd.conf", frrBGP(c)},
	}
}

// frrBFD has a profile for each range with BFD.
func frrBFD(c bgp.RouterConfig) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("hostname %s", c.Name)
	if watches(c) {
		line("debug bfd peer")
	}
	line("bfd")
	for i, r := range c.Ranges {
		if r.BFD == nil {
			continue
		}
		line(" profile %s", label(i))
		line("  transmit-interval %d", r.BFD.MinTx.Milliseconds())
		line("  receive-interval %d", r.BFD.MinRx.Milliseconds())
		line("  detect-multiplier %d", r.BFD.Multiplier)
		line(" exit")
	}
	return b.String()
}

// frrBGP accepts sessions from the ranges and uses all equal paths. It has no networks of its own; what one peer has
// told it goes to the others, as FRR does by itself (a TMM refuses it: its own AS number is in the path).
func frrBGP(c bgp.RouterConfig) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("hostname %s", c.Name)
	line("debug bgp updates in")
	frrFilter(line, c.Refuse)
	line("router bgp %d", c.ASN)
	line(" bgp router-id %s", c.RouterID)
	line(" bgp log-neighbor-changes")
	line(" no bgp ebgp-requires-policy")
	line(" no bgp default ipv4-unicast")
	line(" bgp bestpath as-path multipath-relax")
	line(" bgp listen limit 5000")
	for i, r := range c.Ranges {
		line(" neighbor %s peer-group", label(i))
		line(" neighbor %s remote-as %d", label(i), r.ASN)
		t := r.Timers.Effective()
		line(" neighbor %s timers %d %d", label(i), t.Keepalive, t.HoldTime)
		if r.Password != "" {
			line(" neighbor %s password %s", label(i), r.Password)
		}
		if r.BFD != nil {
			line(" neighbor %s bfd profile %s", label(i), label(i))
		}
		line(" bgp listen range %s peer-group %s", r.Prefix, label(i))
	}
	for _, f := range words() {
		line(" address-family %s unicast", f)
		for i := range c.Ranges {
			line("  neighbor %s activate", label(i))
			line("  neighbor %s soft-reconfiguration inbound", label(i))
			if n := c.Ranges[i].MaxPrefix; n > 0 {
				line("  neighbor %s maximum-prefix %d force", label(i), n) // what a filter rejects counts, too, as it does elsewhere
			}
			if len(c.Refuse) > 0 {
				line("  neighbor %s prefix-list refused in", label(i))
			}
		}
		line("  maximum-paths %d", maxPaths)
		line("  maximum-paths ibgp %d", maxPaths)
		line(" exit-address-family")
	}
	return b.String()
}

// frrFilter defines the prefix lists by the name "refused", one a family.
func frrFilter(line func(string, ...any), refuse []netip.Prefix) {
	if len(refuse) == 0 {
		return
	}
	words := map[bool]string{true: "ip", false: "ipv6"}
	for _, p := range refuse {
		within := ""
		if !p.IsSingleIP() {
			within = fmt.Sprintf(" le %d", p.Addr().BitLen())
		}
		line("%s prefix-list refused deny %s%s", words[p.Addr().Is4()], p, within)
	}
	line("ip prefix-list refused permit 0.0.0.0/0 le 32")
	line("ipv6 prefix-list refused permit ::/0 le 128")
}

// frrNeighbor is what is read of `show bgp neighbors json`.
type frrNeighbor struct {
	RemoteAs       uint32 `json:"remoteAs"`
	BgpState       string `json:"bgpState"`
	UpMsec         int64  `json:"bgpTimerUpMsec"`
	HoldMsec       int64  `json:"bgpTimerHoldTimeMsecs"`
	LastResetDueTo string `json:"lastResetDueTo"`

	Capabilities frrCapabilities `json:"neighborCapabilities"`
}

func frrPeers(ctx context.Context, dir string) ([]bgp.Peer, error) {
	text, err := vty(ctx, filepath.Join(dir, "bgpd.vty"), "show bgp neighbors json")
	if err != nil {
		return nil, err
	}
	return frrParsePeers(text)
}

func frrParsePeers(text string) ([]bgp.Peer, error) {
	var doc map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		return nil, fmt.Errorf("decode FRR's neighbors: %w", err)
	}
	out := []bgp.Peer{}
	for name, raw := range doc {
		addr, err := netip.ParseAddr(name)
		if err != nil {
			continue // a group, or the name of the VRF
		}
		var n frrNeighbor
		if err := json.Unmarshal(raw, &n); err != nil {
			return nil, fmt.Errorf("decode FRR's neighbor %s: %w", name, err)
		}
		p := bgp.Peer{Addr: addr, ASN: n.RemoteAs, State: strings.ToUpper(n.BgpState)}
		if p.Established() {
			p.Uptime = time.Duration(n.UpMsec) * time.Millisecond
			p.HoldTime = uint16(n.HoldMsec / 1000)
			p.Capabilities = n.Capabilities.received()
		} else {
			p.Error = n.LastResetDueTo
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b bgp.Peer) int { return a.Addr.Compare(b.Addr) })
	return out, nil
}

func frrBFDStates(ctx context.Context, dir string) (map[netip.Addr]string, error) {
	text, err := vty(ctx, filepath.Join(dir, "bfdd.vty"), "show bfd peers json")
	if err != nil {
		return nil, err
	}
	return frrParseBFD(text)
}

func frrParseBFD(text string) (map[netip.Addr]string, error) {
	var sessions []struct {
		Peer   string `json:"peer"`
		Status string `json:"status"`
	}
	if err := json.Unmarshal([]byte(text), &sessions); err != nil {
		return nil, fmt.Errorf("decode FRR's BFD sessions: %w", err)
	}
	out := map[netip.Addr]string{}
	for _, s := range sessions {
		if a := parseAddr(s.Peer); a.IsValid() {
			out[a] = bfdWord(s.Status)
		}
	}
	return out, nil
}

// frrTable is what is read of `show bgp FAMILY unicast json`, received-routes and advertised-routes.
type frrTable struct {
	Routes   map[string][]frrPath `json:"routes"`
	Received map[string]frrTold   `json:"receivedRoutes"`
	// Advertised are those of advertised-routes.
	Advertised map[string]frrTold `json:"advertisedRoutes"`
}

// frrTold is a path as a peer has told it, or is told.
type frrTold struct {
	NextHop string `json:"nextHop"`
	Global  string `json:"nextHopGlobal"`
	frrAttributes
}

// frrAttributes are a path's attributes in FRR's words.
type frrAttributes struct {
	Path      string  `json:"path"` // the AS numbers
	Origin    string  `json:"origin"`
	Code      string  `json:"bgpOriginCode"` // in place of Origin where routes are received
	Metric    *uint32 `json:"metric"`
	LocalPref *uint32 `json:"locPrf"`
}

func (a frrAttributes) attributes() bgp.Attributes {
	origin := a.Origin
	if origin == "" {
		origin = map[string]string{"i": "IGP", "e": "EGP", "?": "incomplete"}[a.Code]
	}
	return bgp.Attributes{ASPath: asPath(strings.Fields(a.Path)), Origin: originWord(origin), MED: a.Metric, LocalPref: a.LocalPref}
}

type frrPath struct {
	Valid bool `json:"valid"`
	Best  bool `json:"bestpath"`
	frrAttributes
	Nexthops frrHops `json:"nexthops"`
}

func frrRIB(ctx context.Context, dir string, peers []bgp.Peer) (bgp.RIB, error) {
	rib := bgp.RIB{In: []bgp.Path{}, Loc: []bgp.Path{}, Out: []bgp.Path{}}
	ask := func(command string) (frrTable, error) {
		var t frrTable
		text, err := vty(ctx, filepath.Join(dir, "bgpd.vty"), command)
		if err != nil {
			return t, err
		}
		if strings.TrimSpace(text) == "" {
			return t, nil
		}
		if err := json.Unmarshal([]byte(text), &t); err != nil {
			return t, fmt.Errorf("decode FRR's answer to %q: %w", command, err)
		}
		return t, nil
	}
	for _, f := range words() {
		t, err := ask(fmt.Sprintf("show bgp %s unicast json", f))
		if err != nil {
			return rib, err
		}
		paths := t.loc()
		if err := frrCommunities(ctx, dir, f, paths); err != nil {
			return rib, err
		}
		rib.Loc = append(rib.Loc, paths...)
		for _, p := range peers {
			if !p.Established() {
				continue
			}
			about := fmt.Sprintf("show bgp %s unicast neighbors %s ", f, p.Addr)
			received, err := ask(about + "received-routes json")
			if err != nil {
				return rib, err
			}
			sent, err := ask(about + "advertised-routes json")
			if err != nil {
				return rib, err
			}
			rib.In = append(rib.In, frrTellings(p.Addr, received.Received)...)
			rib.Out = append(rib.Out, frrTellings(p.Addr, sent.Advertised)...)
		}
	}
	rib.Sort()
	return rib, nil
}

// loc are the paths that may be used, each with its next hop; of an IPv6 pair the global one.
func (t frrTable) loc() []bgp.Path {
	var out []bgp.Path
	for text, paths := range t.Routes {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			continue
		}
		for _, p := range paths {
			if !p.Valid || len(p.Nexthops) == 0 {
				continue
			}
			out = append(out, bgp.Path{Prefix: prefix, NextHop: p.Nexthops.addr(), Attributes: p.attributes(), Best: p.Best})
		}
	}
	return out
}

func frrTellings(peer netip.Addr, told map[string]frrTold) []bgp.Path {
	var out []bgp.Path
	for text, r := range told {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			continue
		}
		hop := r.NextHop
		if r.Global != "" {
			hop = r.Global
		}
		out = append(out, bgp.Path{Peer: peer, Prefix: prefix, NextHop: parseAddr(hop), Attributes: r.attributes()})
	}
	return out
}

// frrLines are bgpd's lines about neighbors and updates.
func frrLines() []line {
	return []line{
		{up, regexp.MustCompile(`%ADJCHANGE: neighbor (?P<peer>[0-9a-fA-F.:]+)\S* .*\bUp`)},
		{down, regexp.MustCompile(`%ADJCHANGE: neighbor (?P<peer>[0-9a-fA-F.:]+)\S* .*\bDown (?P<why>.*)`)},
		{bfdUp, regexp.MustCompile(`state-change: \[mhop:\w+ peer:(?P<addr>\S+) .*\] \w+ -> up`)},
		{bfdDown, regexp.MustCompile(`state-change: \[mhop:\w+ peer:(?P<addr>\S+) .*\] up -> \w+(?: reason:(?P<why>\S+))?`)},
		{withdrawn, regexp.MustCompile(`\] (?P<peer>[0-9a-fA-F.:]+)\S* rcvd UPDATE about (?P<prefix>\S+) .* -- withdrawn`)},
		{learned, regexp.MustCompile(`\] (?P<peer>[0-9a-fA-F.:]+)\S* rcvd (?P<prefix>[0-9a-fA-F.:]+/[0-9]+) `)},
	}
}
