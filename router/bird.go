package router

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/bgp"
)

// birdSocket takes commands.
const birdSocket = "bird.ctl"

// bird is BIRD 2.0 and later.
func bird() maker {
	return maker{
		debian: "bird2", user: "bird", protocol: unix.RTPROT_BIRD, files: birdFiles,
		daemons: []daemon{{program: "/usr/sbin/bird", args: []string{"-f", "-c", "bird.conf", "-s", birdSocket, "-P", "bird.pid", "-u", "bird", "-g", "bird"}, socket: birdSocket}},
		peers:   birdPeers, bfd: birdBFD, rib: birdRIB, lines: birdLines(),
	}
}

func birdFiles(c bgp.RouterConfig) []file {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("log stderr all;")
	line("hostname %q;", c.Name)
	line("router id %s;", c.RouterID)
	line("timeformat protocol iso long ms;")
	line("protocol device { scan time 10; }")
	for _, f := range words() {
		line("protocol kernel kernel_%s {", f)
		line("\tmerge paths yes limit %d;", maxPaths)
		line("\t%s { import none; export where source = RTS_BGP; };", f)
		line("}")
	}
	if watches(c) {
		line("protocol bfd { debug { events }; }")
	}
	for i, r := range c.Ranges {
		line("protocol bgp %s {", label(i))
		line("\tdynamic name %q;", label(i)+"_")
		line("\tdebug { states, routes };")
		line("\tlocal as %d;", c.ASN)
		line("\tneighbor range %s as %d;", r.Prefix, r.ASN)
		line("\tpassive;") // else a session that is lost is dialed by BIRD, too, past what a filter says of connections to it
		if r.ASN == c.ASN {
			line("\tdirect;") // otherwise an internal session has its next hops looked up, and BFD of several hops
		}
		t := r.Timers.Effective()
		line("\thold time %d;", t.HoldTime)
		line("\tkeepalive time %d;", t.Keepalive)
		if r.Password != "" {
			line("\tpassword %q;", r.Password)
		}
		line("\terror wait time 1, 5;") // else a neighbor that was silent, or that BFD lost, is not let in again for a minute
		if b := r.BFD; b != nil {
			line("\tbfd { min tx interval %d ms; min rx interval %d ms; multiplier %d; };", b.MinTx.Milliseconds(), b.MinRx.Milliseconds(), b.Multiplier)
			// The neighbor's BFD ends with its process (its C bit is 0), so it must not end a graceful restart (RFC 5882, section 4.3).
			line("\tbfd graceful;")
		}
		for _, f := range words() {
			limit := ""
			if r.MaxPrefix > 0 {
				limit = fmt.Sprintf(" receive limit %d action restart;", r.MaxPrefix)
			}
			line("\t%s { import %s; import table yes;%s export none; };", f, birdFilter(f, c.Refuse), limit)
		}
		line("}")
	}
	return []file{{"bird.conf", b.String()}}
}

// birdFilter is what a channel of a family imports.
func birdFilter(f string, refuse []netip.Prefix) string {
	var sets []string
	for _, p := range refuse {
		if family(p) == f {
			sets = append(sets, p.String()+"+")
		}
	}
	if len(sets) == 0 {
		return "all"
	}
	return fmt.Sprintf("where ! (net ~ [ %s ])", strings.Join(sets, ", "))
}

// session is a BGP protocol of BIRD's with the peer's address.
type session struct {
	name     string
	families []string // that both ends speak
	bgp.Peer
}

func birdSessions(ctx context.Context, dir string) ([]session, error) {
	lines, err := birdc(ctx, filepath.Join(dir, birdSocket), "show protocols all")
	if err != nil {
		return nil, err
	}
	return birdParseSessions(lines, time.Now()), nil
}

// birdParseSessions reads what `show protocols all` answers: a line for each protocol, with the lines about it indented below.
func birdParseSessions(lines []string, now time.Time) []session {
	var out []session
	var s *session
	var channel, section string
	for _, text := range lines {
		words := strings.Fields(text)
		if len(words) == 2 && words[0] == "Channel" {
			channel = words[1]
		}
		if len(words) >= 6 && words[1] == "BGP" && !strings.HasPrefix(text, " ") {
			out = append(out, session{name: words[0]})
			s = &out[len(out)-1]
			if since, err := time.ParseInLocation("2006-01-02 15:04:05.000", words[4]+" "+words[5], time.Local); err == nil {
				s.Uptime = now.Sub(since)
			}
			continue
		}
		if strings.HasSuffix(text, " capabilities") {
			section = strings.TrimSpace(text)
		}
		if s != nil && section == "Neighbor capabilities" {
			s.Capabilities = append(s.Capabilities, birdCapabilities(text)...)
		}
		key, value, ok := strings.Cut(strings.TrimSpace(text), ":")
		value = strings.TrimSpace(value)
		switch {
		case !strings.HasPrefix(text, " "):
			s = nil // another protocol
		case s == nil || !ok:
		case key == "BGP state":
			s.State = strings.ToUpper(value)
		case key == "Neighbor address":
			addr, _, _ := strings.Cut(value, "%")
			s.Addr = parseAddr(addr)
		case key == "Neighbor AS":
			n, _ := strconv.ParseUint(value, 10, 32) // 0 where it is none
			s.ASN = uint32(n)
		case key == "Hold timer": // what is left of it / all of it
			_, all, _ := strings.Cut(value, "/")
			n, _ := strconv.ParseUint(all, 10, 16) // 0 where it is none
			s.HoldTime = uint16(n)
		case key == "Last error":
			s.Error = value
		case key == "State" && value == "UP": // of a channel, under its name
			s.families = append(s.families, channel)
		}
	}
	out = slices.DeleteFunc(out, func(s session) bool { return !s.Addr.IsValid() }) // the range itself
	for i := range out {
		if out[i].Established() {
			out[i].Error = ""
			slices.Sort(out[i].Capabilities)
		} else {
			out[i].Uptime, out[i].Capabilities = 0, nil
		}
	}
	slices.SortFunc(out, func(a, b session) int { return a.Addr.Compare(b.Addr) })
	return out
}

func birdPeers(ctx context.Context, dir string) ([]bgp.Peer, error) {
	sessions, err := birdSessions(ctx, dir)
	if err != nil {
		return nil, err
	}
	out := make([]bgp.Peer, len(sessions))
	for i, s := range sessions {
		out[i] = s.Peer
	}
	return out, nil
}

func birdBFD(ctx context.Context, dir string) (map[netip.Addr]string, error) {
	lines, err := birdc(ctx, filepath.Join(dir, birdSocket), "show bfd sessions")
	if err != nil {
		return nil, err
	}
	return birdParseBFD(lines), nil
}

// birdParseBFD reads what `show bfd sessions` answers: a line for each, with address, interface and state.
func birdParseBFD(lines []string) map[netip.Addr]string {
	out := map[netip.Addr]string{}
	for _, text := range lines {
		words := strings.Fields(text)
		if len(words) < 3 {
			continue
		}
		if a := parseAddr(words[0]); a.IsValid() {
			out[a] = bfdWord(words[2])
		}
	}
	return out
}

func birdRIB(ctx context.Context, dir string, _ []bgp.Peer) (bgp.RIB, error) {
	rib := bgp.RIB{In: []bgp.Path{}, Loc: []bgp.Path{}, Out: []bgp.Path{}}
	socket := filepath.Join(dir, birdSocket)
	lines, err := birdc(ctx, socket, "show route where source = RTS_BGP all")
	if err != nil {
		return rib, err
	}
	rib.Loc = birdPaths(lines, netip.Addr{})
	sessions, err := birdSessions(ctx, dir)
	if err != nil {
		return rib, err
	}
	for _, s := range sessions {
		for _, f := range s.families {
			lines, err := birdc(ctx, socket, fmt.Sprintf("show route import table %s.%s all", s.name, f))
			if err != nil {
				return rib, err
			}
			rib.In = append(rib.In, birdPaths(lines, s.Addr)...)
			if lines, err = birdc(ctx, socket, fmt.Sprintf("show route export %s.%s all", s.name, f)); err != nil {
				return rib, err
			}
			rib.Out = append(rib.Out, birdPaths(lines, s.Addr)...)
		}
	}
	rib.Sort()
	return rib, nil
}

// birdPaths reads routes, each a line with the prefix (left out where it is the one above), a "*" where it
// is the best one, and a line for each attribute, "BGP.as_path: 65001".
func birdPaths(lines []string, peer netip.Addr) []bgp.Path {
	out := []bgp.Path{}
	var prefix netip.Prefix
	for _, text := range lines {
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		if p, err := netip.ParsePrefix(words[0]); err == nil {
			prefix = p
		}
		if slices.Contains(words, "unicast") {
			out = append(out, bgp.Path{Peer: peer, Prefix: prefix, Best: !peer.IsValid() && slices.Contains(words, "*")})
		}
		if len(out) > 0 && len(words) > 1 {
			birdAttribute(&out[len(out)-1], words[0], words[1:])
		}
	}
	return out
}

func birdAttribute(p *bgp.Path, name string, words []string) {
	number := func() *uint32 {
		n, err := strconv.ParseUint(words[0], 10, 32)
		if err != nil {
			return nil
		}
		v := uint32(n)
		return &v
	}
	switch name {
	case "BGP.next_hop:":
		p.NextHop = parseAddr(words[0])
	case "BGP.as_path:":
		p.ASPath = asPath(words)
	case "BGP.origin:":
		p.Origin = originWord(words[0])
	case "BGP.med:":
		p.MED = number()
	case "BGP.local_pref:":
		p.LocalPref = number()
	case "BGP.community:": // (65001,100) (65001,200)
		for _, w := range words {
			p.Communities = append(p.Communities, strings.ReplaceAll(strings.Trim(w, "()"), ",", ":"))
		}
	}
}

// birdLines are the lines of the protocols' states and routes.
func birdLines() []line {
	return []line{
		{up, regexp.MustCompile(`<TRACE> (?P<peer>range\d+_\d+): State changed to up`)},
		{down, regexp.MustCompile(`<TRACE> (?P<peer>range\d+_\d+): State changed to (?P<why>stop)`)},
		{bfdUp, regexp.MustCompile(`<TRACE> \w+: Session to (?P<addr>\S+) changed state from \w+ to Up`)},
		{bfdDown, regexp.MustCompile(`<TRACE> \w+: Session to (?P<addr>\S+) changed state from Up to (?P<why>\w+)`)},
		{learned, regexp.MustCompile(`<TRACE> (?P<peer>range\d+_\d+)\.ipv[46] > (?:added|replaced|updated) (?:\[best\] )?(?P<prefix>\S+) `)},
		{withdrawn, regexp.MustCompile(`<TRACE> (?P<peer>range\d+_\d+)\.ipv[46] > removed (?:\[\w+\] )?(?P<prefix>\S+) `)},
	}
}
