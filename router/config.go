package router

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spklab/spklab/bfd"
	"github.com/spklab/spklab/dataplane/bgp"
)

// The kinds.
const (
	KindFRR  = "frr"
	KindBIRD = "bird"
)

// Config is what a router needs to know.
type Config struct {
	Kind   string
	Dir    string // run directory: configuration, sockets, pid files; made with mode 0700
	Router bgp.RouterConfig
}

// maker is how the routers of one kind are run.
type maker struct {
	debian   string // package that has the programs
	user     string // that they run as and that owns the run directory
	protocol int    // of the kernel's routes that they install (rtm_protocol)
	files    func(bgp.RouterConfig) []file
	daemons  []daemon
	// peers and rib ask the daemons whose sockets are in a run directory.
	peers func(ctx context.Context, dir string) ([]bgp.Peer, error)
	// bfd are the states of the BFD sessions by peer; it is asked where a range has BFD.
	bfd   func(ctx context.Context, dir string) (map[netip.Addr]string, error)
	rib   func(ctx context.Context, dir string, peers []bgp.Peer) (bgp.RIB, error)
	lines []line
}

// file is a configuration file in the run directory.
type file struct{ name, content string }

// daemon is one of a router's programs. It is started in the run directory, and its paths are relative
// to it: the daemons' user cannot look into the directories above.
type daemon struct {
	program string
	args    []string
	socket  string // in the run directory; it takes commands once the daemon works
}

func makers() map[string]maker {
	return map[string]maker{KindFRR: frr(), KindBIRD: bird()}
}

// Kinds are the kinds of routers, sorted.
func Kinds() []string { return slices.Sorted(maps.Keys(makers())) }

func find(kind string) (maker, error) {
	m, ok := makers()[kind]
	if !ok {
		return maker{}, fmt.Errorf("router of kind %q: want %s", kind, strings.Join(Kinds(), ", "))
	}
	return m, nil
}

// Check says whether the programs of a kind are installed.
func Check(kind string) error {
	m, err := find(kind)
	if err != nil {
		return err
	}
	for _, d := range m.daemons {
		if _, err := os.Stat(d.program); err != nil {
			return fmt.Errorf("a router of kind %s needs %s: apt-get install %s", kind, d.program, m.debian)
		}
	}
	return nil
}

// Debian is the package with the programs of a kind; empty where there is no such kind.
func Debian(kind string) string { return makers()[kind].debian }

// label is a name for the i-th range of neighbors in a configuration.
func label(i int) string { return fmt.Sprintf("range%d", i) }

// watches says whether any session has BFD.
func watches(c bgp.RouterConfig) bool {
	return slices.ContainsFunc(c.Ranges, func(r bgp.PeerRange) bool { return r.BFD != nil })
}

// bfdWord is a state of a BFD session as bgp.Peer has it.
func bfdWord(s string) string {
	if s = strings.ToLower(s); s == "shutdown" || s == "admindown" {
		return bfd.AdminDown.String()
	}
	return s
}

// family is the word for a prefix's family.
func family(p netip.Prefix) string {
	if p.Addr().Is4() {
		return "ipv4"
	}
	return "ipv6"
}

// words are the families as both makers' configurations name them.
func words() []string { return []string{"ipv4", "ipv6"} }

// asPath are the AS numbers among words; what is none, such as the braces of a set, is left out.
func asPath(words []string) []uint32 {
	var out []uint32
	for _, w := range words {
		if n, err := strconv.ParseUint(w, 10, 32); err == nil {
			out = append(out, uint32(n))
		}
	}
	return out
}

// originWord is an origin as bgp.Attributes has it.
func originWord(s string) string {
	if strings.EqualFold(s, "incomplete") {
		return "incomplete"
	}
	return strings.ToUpper(s)
}

// parseAddr is the zero address for what is none.
func parseAddr(s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return a
}
