package bgp_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/router"
)

const (
	// tableSize is how many virtual servers BenchmarkTable announces, tableRounds how often.
	tableSize   = 10_000
	tableRounds = 5
	// roleNetworks is FRR's bgpd with the same set as networks of its own.
	roleNetworks = "networks"
)

// tablePrefix is a virtual server's address, number n.
func tablePrefix(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 100, byte(n >> 8), byte(n)}), 32)
}

// networks turns the process into a bgpd that announces the set to the router, without a kernel's routes.
func networks(socket string) error {
	dir := (&host{socket: socket}).dir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var conf strings.Builder
	fmt.Fprintf(&conf, "router bgp %d\n bgp router-id %s\n no bgp ebgp-requires-policy\n no bgp network import-check\n", asnSpeaker, far(17, true))
	fmt.Fprintf(&conf, " neighbor %s remote-as %d\n neighbor %s timers 3 9\n address-family ipv4 unicast\n", far(1, true), asnRouter, far(1, true))
	for i := range tableSize {
		fmt.Fprintf(&conf, "  network %s\n", tablePrefix(i))
	}
	file := filepath.Join(dir, "bgpd.conf")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		return err
	}
	const bgpd = "/usr/lib/frr/bgpd"
	return syscall.Exec(bgpd, []string{bgpd, "-S", "-Z", "-n", "-f", file, "-i", filepath.Join(dir, "pid"), "--vty_socket", dir, "-P", "0"}, os.Environ())
}

// BenchmarkTable has FRR learn 10,000 virtual servers from our speaker and from an FRR that has them as
// networks, in turn, and compares the times from an established session to the last path in its RIB, and
// the memory of the two that announce.
func BenchmarkTable(b *testing.B) {
	roottest.Need(b)
	if err := router.Check(router.KindFRR); err != nil {
		b.Skip(err)
	}
	b.Setenv(kindEnv, router.KindFRR)
	for range b.N {
		var took, memory [2][]float64
		for range tableRounds {
			for i, role := range []string{"speaker", roleNetworks} {
				d, m := learn(b, role, 16+i)
				took[i], memory[i] = append(took[i], d.Seconds()), append(memory[i], m)
			}
		}
		b.Logf("%d paths, until the last one is in FRR's RIB: from our speaker %.3f s, from FRR %.3f s; memory %.0f and %.0f MiB (medians of %d)",
			tableSize, median(took[0]), median(took[1]), median(memory[0]), median(memory[1]), tableRounds)
		b.ReportMetric(median(took[0])/median(took[1]), "time/FRR")
		b.ReportMetric(median(memory[0])/median(memory[1]), "memory/FRR")
	}
}

func median(of []float64) float64 { return slices.Sorted(slices.Values(of))[len(of)/2] }

// learn has a new router learn the set from a new host, and returns how long it took and the host's
// memory in MiB then.
func learn(b *testing.B, role string, n int) (time.Duration, float64) {
	b.Helper()
	own := far(n, true)
	r := spawn(b, "router", bgp.RouterConfig{
		Name: "upstream", ASN: asnRouter, RouterID: far(1, true),
		Ranges: []bgp.PeerRange{{Prefix: netip.PrefixFrom(own, own.BitLen()), ASN: asnSpeaker}},
	})
	bridge(b, r)
	h := spawn(b, role, bgp.SpeakerConfig{
		ASN: asnSpeaker, RouterID: own,
		Neighbors: []bgp.Neighbor{{Addr: far(1, true), Local: own, ASN: asnRouter, AcceptV4: true}},
	})
	cable(b, r, h, 0, own.String()+"/24")
	port(b, r, false) // the set is known before there is a session
	for _, each := range []*host{r, h} {
		if err := each.goOn(); err != nil {
			b.Fatal(err)
		}
	}
	if role == "speaker" {
		announceTable(b, h, own)
	} else {
		within(b, func() bool { // bgpd has read its configuration when it answers
			return exec.Command("vtysh", "--vty_socket", h.dir(), "-d", "bgpd", "-c", "show version").Run() == nil
		})
	}
	within(b, func() bool { _, err := os.Stat(filepath.Join(r.dir(), "bgpd.vty")); return err == nil })
	port(b, r, true)
	within(b, func() bool { _, up := heard(r, own); return up })
	began := time.Now()
	within(b, func() bool { paths, _ := heard(r, own); return paths == tableSize })
	took := time.Since(began)
	memory := resident(b, h.cmd.Process.Pid)
	h.end(b, syscall.SIGKILL)
	r.end(b, syscall.SIGKILL)
	return took, memory
}

// port raises or lowers the router's port to the host.
func port(b *testing.B, r *host, up bool) {
	b.Helper()
	nl := r.handle(b)
	link, err := nl.LinkByName("port0")
	if err != nil {
		b.Fatal(err)
	}
	set := nl.LinkSetDown
	if up {
		set = nl.LinkSetUp
	}
	if err := set(link); err != nil {
		b.Fatal(err)
	}
}

func announceTable(b *testing.B, h *host, own netip.Addr) {
	b.Helper()
	within(b, func() bool { return ctl.Get(b.Context(), h.socket, ctl.PathReady, nil) == nil })
	if err := ctl.Post(b.Context(), h.socket, "/v1/set?table="+own.String(), nil); err != nil {
		b.Fatal(err)
	}
}

// table is the whole set by one next hop.
func table(hop netip.Addr) []bgp.Announcement {
	var out []bgp.Announcement
	for i := range tableSize {
		out = append(out, bgp.Announcement{Prefix: tablePrefix(i), NextHop: hop})
	}
	return out
}

// heard is how many paths FRR has from a peer, and whether the session is established.
func heard(r *host, peer netip.Addr) (paths int, up bool) {
	out, err := exec.Command("vtysh", "--vty_socket", r.dir(), "-d", "bgpd", "-c", "show bgp ipv4 unicast summary json").Output()
	if err != nil {
		return 0, false
	}
	var doc struct {
		Peers map[string]struct {
			State string `json:"state"`
			Paths int    `json:"pfxRcd"`
		} `json:"peers"`
	}
	if err := json.Unmarshal(out, &doc); err != nil {
		return 0, false
	}
	p := doc.Peers[peer.String()]
	return p.Paths, p.State == "Established"
}

// resident is a process's VmRSS (proc(5)) in MiB.
func resident(b *testing.B, pid int) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		b.Fatal("no VmRSS")
	}
	kib, err := strconv.ParseFloat(fields[0], 64)
	if err != nil {
		b.Fatal(err)
	}
	return kib / 1024
}

func within(b *testing.B, done func() bool) {
	b.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatal("nothing within a minute")
		}
	}
}
