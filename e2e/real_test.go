package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spklab/spklab/ovn"
	"github.com/spklab/spklab/ovn/debs"
	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/traffic"
)

// needOVN is the release of OVN that labs with the backend real run: the one that OVN_RELEASE names, or
// the installed one. It skips where its programs are not there, and fails where CI wants every test run.
func needOVN(t testing.TB) string {
	t.Helper()
	if release := os.Getenv("OVN_RELEASE"); release != "" {
		needRelease(t, release)
		return release
	}
	roottest.Need(t)
	err := ovn.Check()
	release := ""
	if err == nil {
		release, err = ovn.Programs{}.Release(t.Context())
	}
	skipWithout(t, err)
	return release
}

// needRelease is needOVN for a release: nothing is downloaded by a test.
func needRelease(t testing.TB, release string) {
	t.Helper()
	roottest.Need(t)
	if installed, err := (ovn.Programs{}).Release(t.Context()); err == nil && installed == release {
		return
	}
	cache, err := debs.DefaultCache()
	if err == nil {
		_, err = cache.Open(release)
	}
	skipWithout(t, err)
}

// skipWithout skips a test that lacks something, and fails it in CI.
func skipWithout(t testing.TB, err error) {
	t.Helper()
	switch {
	case err != nil && os.Getenv("CI") != "":
		t.Fatal(err)
	case err != nil:
		t.Skip(err)
	}
}

// TestRealOVN brings the spk topology up over OVN's own daemons, sends packets both ways, adds and
// removes a TMM, breaks daemons, and takes the lab down.
func TestRealOVN(t *testing.T) {
	needOVN(t)
	t.Parallel()
	for backend, lab := range map[string]string{topo.BackendReal: "e2e-real", topo.BackendRealOnSim: "e2e-onsim"} {
		t.Run(backend, func(t *testing.T) {
			up(t, "spk", lab, "--backend", backend)
			r := realLab{t: t, name: lab}
			r.serve()
			r.pings()
			r.egress(2)
			r.ingress()
			traces(t, lab)
			mustSpklab(t, "scale", "tmm", "3", "--lab", lab)
			r.egress(3)
			mustSpklab(t, "scale", "tmm", "2", "--lab", lab)
			r.egress(2)
			r.breaks("ovs-vswitchd-worker-1", "ovn-controller-worker-1", "ovn-northd", "ovn-node-worker-1")
			mustSpklab(t, "up", "spk", "--name", lab, "--backend", backend)
			r.daemons()
			r.egress(2)
			r.ingress()
		})
	}
}

// TestRealOVNLocalGateway runs the topology in local gateway mode, where the routes of pods with
// gateways need a reroute of the cluster router.
func TestRealOVNLocalGateway(t *testing.T) {
	needOVN(t)
	t.Parallel()
	const lab = "e2e-reallocal"
	file := spkWith(t, "driver: ovn\n", "driver: ovn\n  gatewayMode: local\n")
	up(t, file, lab, "--backend", topo.BackendReal)
	r := realLab{t: t, name: lab}
	r.serve()
	r.egress(2)
	r.ingress()
	r.state()
	mustSpklab(t, "exec", "--lab", lab, "worker-2", "--", "ping", "-n", "-c", "1", "-W", "2", "10.131.1.100")
}

// TestKillRealUp kills `spklab up --backend real` at three moments: down has to leave nothing.
func TestKillRealUp(t *testing.T) {
	needOVN(t)
	const lab = "e2e-realkill"
	for _, moment := range []time.Duration{300 * time.Millisecond, 700 * time.Millisecond, 1500 * time.Millisecond} {
		killUp(t, lab, moment, "--backend", topo.BackendReal)
		mustSpklab(t, "down", lab)
		for _, l := range leftovers(t, lab) {
			t.Errorf("killed after %s: left behind: %s", moment, l)
		}
	}
}

// realLab is a running lab of the spk topology.
type realLab struct {
	t        *testing.T
	name     string
	tcp, udp uint16 // ports that the client serves
	lost     int    // connections that failed
}

func (r *realLab) dialer(node string) traffic.Dialer {
	return traffic.Dialer{Netns: topo.NetnsName(r.name, node)}
}

// serve has the client answer.
func (r *realLab) serve() {
	r.t.Helper()
	err := topo.Do(topo.NetnsName(r.name, "client"), func() error {
		s, err := traffic.Listen("outside/client", []uint16{0}, []uint16{0})
		if err != nil {
			return err
		}
		r.t.Cleanup(func() {
			if err := s.Close(); err != nil {
				r.t.Error(err)
			}
		})
		tcp, udp := s.Ports()
		r.tcp, r.udp = tcp[0], udp[0]
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// spare is how many of all connections of a lab may be lost. OVN 23.03 learns the gateway of a
// connection from outside as an OpenFlow rule (commit_ecmp_nh); until the revalidator has seen the
// first rule of a kind, the datapath flow of the pod's own connections, which is wider, still sends the
// answers by ECMP. And a packet whose next hop is not resolved yet may be dropped.
const spare = 6

// exchange opens a connection and has something echoed twice.
func (r *realLab) exchange(node, proto string, to netip.AddrPort) traffic.Greeting {
	r.t.Helper()
	g, err := r.try(node, proto, to)
	for ; err != nil; g, err = r.try(node, proto, to) {
		r.t.Logf("from %s to %s over %s: %v", node, to, proto, err)
		if r.lost++; r.lost > spare {
			r.t.Fatalf("%d connections lost, want at most %d", r.lost, spare)
		}
	}
	return g
}

func (r *realLab) try(node, proto string, to netip.AddrPort) (traffic.Greeting, error) {
	dial := r.dialer(node).TCP
	if proto == "udp" {
		dial = r.dialer(node).UDP
	}
	c, err := dial(r.t.Context(), netip.AddrPort{}, to)
	if err != nil {
		return traffic.Greeting{}, err
	}
	defer c.Close()
	for i := range 2 {
		if err := c.Echo(fmt.Appendf(nil, "echo %d", i)); err != nil {
			return traffic.Greeting{}, err
		}
	}
	return c.Greeting, nil
}

// pings sends echo requests from a pod to the client and to a pod of the other worker, by Geneve.
func (r *realLab) pings() {
	r.t.Helper()
	for _, to := range []string{"203.0.113.10", "2001:db8:113::10", "10.131.2.3", "fd01:0:0:2::3"} {
		mustSpklab(r.t, "exec", "--lab", r.name, "app-1", "--", "ping", "-n", "-c", "2", "-i", "0.2", "-W", "2", "-s", "1400", to)
	}
}

// egress opens connections from a pod to the client: over TCP they leave by every one of the TMMs,
// each keeps to one, and the client sees that TMM's address.
func (r *realLab) egress(tmms int) {
	r.t.Helper()
	for _, family := range []struct{ client, tmm string }{{"203.0.113.10", "198.51.100.%d"}, {"2001:db8:113::10", "2001:db8:51::%d"}} {
		var want []string
		for i := range tmms {
			want = append(want, fmt.Sprintf(family.tmm, 16+i))
		}
		seen := map[string]int{}
		for range 40 { // all by one of two TMMs: once in 2^39 runs
			g := r.exchange("app-1", "tcp", netip.AddrPortFrom(netip.MustParseAddr(family.client), r.tcp))
			seen[g.Remote.Addr().String()]++
		}
		for _, a := range want {
			if seen[a] == 0 {
				r.t.Errorf("no connection left by %s: %v", a, seen)
			}
		}
		if len(seen) != tmms {
			r.t.Errorf("connections left by %v, want %d TMMs", seen, tmms)
		}
		r.t.Logf("%s: 40 connections over TCP by %v", r.name, seen)
		g := r.exchange("app-1", "udp", netip.AddrPortFrom(netip.MustParseAddr(family.client), r.udp))
		if !slices.Contains(want, g.Remote.Addr().String()) {
			r.t.Errorf("over UDP the client sees %s, want one of %v", g.Remote, want)
		}
	}
}

// ingress opens connections from the client to virtual servers without source translation: the
// router spreads them over the TMMs, and each is answered by the TMM that it came by, for the other
// one knows nothing of it and would drop the answer.
func (r *realLab) ingress() {
	r.t.Helper()
	for _, tc := range []struct{ proto, to, client string }{
		{"tcp", "192.0.2.11:80", "203.0.113.10"}, {"tcp", "[2001:db8:2::11]:80", "2001:db8:113::10"},
		{"udp", "192.0.2.13:5300", "203.0.113.10"}, {"udp", "[2001:db8:2::13]:5300", "2001:db8:113::10"},
	} {
		for range 15 {
			g := r.exchange("client", tc.proto, netip.MustParseAddrPort(tc.to))
			if g.Remote.Addr().String() != tc.client {
				r.t.Errorf("%s over %s: the pod sees %s, want %s", tc.to, tc.proto, g.Remote, tc.client)
			}
		}
	}
}

// breaks kills processes of the lab.
func (r *realLab) breaks(names ...string) {
	r.t.Helper()
	for _, name := range names {
		find(r.t, filepath.Join(built.state, r.name, name)).end(r.t, syscall.SIGKILL)
	}
}

// daemons holds that every daemon runs and says its version.
func (r *realLab) daemons() {
	r.t.Helper()
	var doc struct {
		OVN    map[string]ovn.Status `json:"ovn"`
		Silent map[string]string     `json:"silent"`
	}
	if err := json.Unmarshal(mustSpklab(r.t, "inspect", "--lab", r.name, "-o", "json"), &doc); err != nil {
		r.t.Fatal(err)
	}
	if len(doc.Silent) > 0 {
		r.t.Errorf("no answer of %v", doc.Silent)
	}
	for _, name := range []string{"ovn-sb", "ovn-northd", "ovs-db-worker-1", "ovs-vswitchd-worker-1", "ovn-controller-worker-1", "ovs-vswitchd-worker-2"} {
		st := doc.OVN[name]
		if st.PID == 0 || !strings.Contains(st.Version, ".") {
			r.t.Errorf("%s: %+v, want a process with a version", name, st)
		}
	}
}
