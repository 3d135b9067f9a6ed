package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/ovnsim/forward"
	"github.com/spklab/spklab/scenarios/conform"
	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/traffic"
)

// The clients' connections of every observation, the same ones in all labs.
const (
	conformPort  = 41000 // the first one's source port
	conformConns = 12
)

// conformLab is one of two labs that have to behave alike.
type conformLab struct {
	realLab
	lab   *lab.Lab
	round int // so that no connection comes back
}

// openLab is a running lab of these tests.
func openLab(t *testing.T, name string) *lab.Lab {
	t.Helper()
	l, err := lab.Open(name, lab.Options{Host: topo.Host{Run: built.state}, Bin: built.bin})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// conformStep is a change of objects.
type conformStep struct {
	name  string
	apply string // manifest
	take  string // name of a policy to delete
	tmms  int    // to scale to
}

// conformSteps lead through what changes external gateways. The second project's gateways are the
// TMMs' self-IPs.
func conformSteps() []conformStep {
	const first, second = "10.144.100.16,fd00:10:144:100::16", "10.144.100.17,fd00:10:144:100::17"
	namespace := func(gateways string) string {
		text := "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: conform\n  labels: {project: conform}\n"
		if gateways != "" {
			text += "  annotations: {k8s.ovn.org/routing-external-gws: \"" + gateways + "\"}\n"
		}
		return text
	}
	policy := func(gateways string, bfd bool) string {
		var hops []string
		for _, a := range strings.Split(gateways, ",") {
			hops = append(hops, fmt.Sprintf("{ip: %q, bfdEnabled: %t}", a, bfd))
		}
		return "apiVersion: k8s.ovn.org/v1\nkind: AdminPolicyBasedExternalRoute\nmetadata: {name: conform}\nspec:\n" +
			"  from: {namespaceSelector: {matchLabels: {project: conform}}}\n  nextHops: {static: [" + strings.Join(hops, ", ") + "]}\n"
	}
	const pod = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: conform-pod, namespace: conform}\nspec:\n  nodeName: worker-1\n" +
		"  containers: [{name: app, image: spklab/app, ports: [{containerPort: 8080, protocol: TCP}]}]\n"
	return []conformStep{
		{name: "the lab as it is brought up"},
		{name: "a project without gateways", apply: namespace("") + pod},
		{name: "its annotation names two", apply: namespace(first + "," + second)},
		{name: "its annotation names one", apply: namespace(first)},
		{name: "one bad address", apply: namespace(first + ",nowhere")},
		{name: "two again", apply: namespace(first + "," + second)},
		{name: "a policy with the same two besides", apply: policy(first+","+second, false)},
		{name: "the policy alone", apply: namespace("")},
		{name: "the policy asks for BFD", apply: policy(first+","+second, true)},
		{name: "no policy", take: "conform"},
		{name: "a third TMM", tmms: 3},
		{name: "two TMMs", tmms: 2},
	}
}

// conformPair brings the spk topology up over the simulation, with the profile of the release of OVN, and
// over OVN itself.
func conformPair(t *testing.T) []*conformLab {
	t.Helper()
	dir := withProfile(t, "ovn-"+needOVN(t))
	var out []*conformLab
	for name, flags := range map[string][]string{"e2e-confsim": nil, "e2e-confreal": {"--backend", topo.BackendReal}} {
		up(t, dir, name, flags...)
		c := &conformLab{realLab: realLab{t: t, name: name}, lab: openLab(t, name)}
		c.serve()
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b *conformLab) int { return strings.Compare(b.name, a.name) }) // the simulation first
	return out
}

// do makes a change.
func (c *conformLab) do(step conformStep) {
	c.t.Helper()
	var err error
	if step.apply != "" {
		var objs []api.Object
		if objs, err = api.Split("step.yaml", []byte(step.apply)); err == nil {
			_, err = c.lab.Apply(c.t.Context(), objs)
		}
	}
	if err == nil && step.take != "" {
		err = c.lab.Delete(c.t.Context(), api.KindExternalRoute, "", step.take, -1)
	}
	if err == nil && step.tmms > 0 {
		_, err = c.lab.Scale(c.t.Context(), "tmm", step.tmms)
	}
	if err != nil {
		c.t.Fatalf("%s: %s: %v", c.name, step.name, err)
	}
}

// rows are those of the northbound database.
func (c *conformLab) rows() []string {
	c.t.Helper()
	nb, err := c.lab.Northbound(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	return conform.Rows(nb)
}

// settle waits until both databases hold the same, or for as long as a controller may take, and then
// until the datapaths have followed.
func settle(t *testing.T, pair []*conformLab) {
	t.Helper()
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if slices.Equal(pair[0].rows(), pair[1].rows()) {
			break // a difference that stays is what the comparison is for
		}
	}
	for _, c := range pair {
		var behind []string
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			var err error
			if behind, err = c.lab.Behind(t.Context()); err == nil && len(behind) == 0 {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s: the datapaths lack %v, %v", c.name, behind, err)
			}
		}
	}
}

// observe looks at all three levels.
func (c *conformLab) observe() conform.Observation {
	c.t.Helper()
	c.round++
	o := conform.Observation{Rows: c.rows(), Properties: map[string]string{}}
	c.egressProperties(o.Properties)
	conns := c.clients(o.Properties)
	o.Entries = c.entries(conns)
	for _, conn := range conns {
		_ = conn.Close() // told what it was asked for
	}
	return o
}

// egressProperties are what holds of a pod's connections to the outside.
func (c *conformLab) egressProperties(out map[string]string) {
	c.t.Helper()
	for _, client := range []string{"203.0.113.10", "2001:db8:113::10"} {
		to := netip.AddrPortFrom(netip.MustParseAddr(client), c.tcp)
		seen := map[string]bool{}
		for range 24 { // all by one of two TMMs: once in 2^23
			seen[c.exchange("app-1", "tcp", to).Remote.Addr().String()] = true
		}
		out["TMMs that connections of app-1 to "+client+" leave by"] = fmt.Sprint(len(seen))
		udp := map[string]bool{}
		for range 4 {
			udp[c.exchange("app-1", "udp", netip.AddrPortFrom(to.Addr(), c.udp)).Remote.Addr().String()] = true
		}
		out["TMMs that datagrams of app-1 to "+client+" leave by"] = fmt.Sprint(len(udp))
	}
}

// clients open connections to a virtual server without source translation, from given ports: each has
// to be answered by the TMM that it came by, for the other one would drop the answer.
func (c *conformLab) clients(out map[string]string) []*traffic.Conn {
	c.t.Helper()
	var conns []*traffic.Conn
	answered := 0
	d := c.dialer("client")
	for i := range conformConns {
		c.pin(i * 2 / conformConns)
		local := netip.AddrPortFrom(netip.MustParseAddr("203.0.113.10"), uint16(conformPort+c.round*100+i))
		conn, err := d.TCP(c.t.Context(), local, netip.MustParseAddrPort("192.0.2.11:80"))
		if err != nil {
			c.t.Logf("%s: %v", c.name, err)
			continue
		}
		conns = append(conns, conn)
		if err := conn.Echo([]byte("conform")); err == nil {
			answered++
		}
	}
	out["clients without source translation that are answered"] = fmt.Sprintf("%d of %d", answered, conformConns)
	return conns
}

// pin has the router send the virtual server's packets to a TMM: its own choice is another one in
// another lab.
func (c *conformLab) pin(tmm int) {
	c.t.Helper()
	err := topo.Do(topo.NetnsName(c.name, "upstream"), func() error {
		to := &net.IPNet{IP: net.IPv4(192, 0, 2, 11), Mask: net.CIDRMask(32, 32)}
		rule := netlink.NewRule()
		rule.Dst, rule.Table, rule.Priority, rule.Family = to, 7007, 7007, netlink.FAMILY_V4
		if err := netlink.RuleAdd(rule); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return netlink.RouteReplace(&netlink.Route{Dst: to, Table: 7007, Gw: net.IPv4(198, 51, 100, byte(16+tmm))})
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// entries counts what the workers' conntrack holds of these connections, by the TMM whose MAC it names.
func (c *conformLab) entries(conns []*traffic.Conn) map[string]int {
	c.t.Helper()
	macs := map[string]string{}
	in, err := c.lab.Inspect(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	for _, tmm := range in.TMMs {
		for _, f := range tmm.Interfaces {
			macs[f.MAC] = tmm.Pod
		}
	}
	out := map[string]int{}
	for _, w := range c.lab.Spec.Workers {
		all, err := c.lab.Conns(c.t.Context(), w.Name)
		if err != nil {
			c.t.Fatalf("%s: conntrack of %s: %v", c.name, w.Name, err)
		}
		for _, entry := range all {
			if entry.MAC != "" && slices.ContainsFunc(conns, func(conn *traffic.Conn) bool { return conn.Local() == entry.Peer }) {
				out[fmt.Sprintf("of protocol %d by %s", entry.Protocol, macs[entry.MAC])]++
			}
		}
	}
	return out
}

// TestConformance leads the simulation and OVN (OVN_RELEASE, or the installed one) through the same changes. Every difference of rows,
// properties or entries of conntrack is a failure.
func TestConformance(t *testing.T) {
	pair := conformPair(t)
	result := conform.Result{A: pair[0].name, B: pair[1].name}
	for _, step := range conformSteps() {
		for _, c := range pair {
			c.do(step)
		}
		settle(t, pair)
		for _, d := range result.Add(step.name, pair[0].observe(), pair[1].observe()) {
			t.Error(d)
		}
	}
	var table strings.Builder
	if err := result.Write(&table); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s beside %s\n%s", result.A, result.B, table.String())
	t.Run("notices", func(t *testing.T) { conformanceNotices(t, pair) })
}

// conformanceNotices breaks the simulation in three ways, with its controller stopped, which would mend
// it: the comparison has to name each.
func conformanceNotices(t *testing.T, pair []*conformLab) {
	sim := pair[0]
	p := find(t, filepath.Join(built.state, sim.name, "ovn-exgw"))
	if err := syscall.Kill(p.pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(p.pid, syscall.SIGCONT) })
	nbctl := func(argv ...string) string {
		return strings.TrimSpace(string(mustSpklab(t, append([]string{"exec", "--lab", sim.name, "worker-1", "--", "ovn-nbctl", "--no-leader-only"}, argv...)...)))
	}
	rows := func(change func(), word string) {
		t.Helper()
		change()
		found := conform.Compare("broken", conform.Observation{Rows: sim.rows()}, conform.Observation{Rows: pair[1].rows()})
		if !slices.ContainsFunc(found, func(d conform.Difference) bool { return d.Level == conform.LevelRows && strings.Contains(d.What, word) }) {
			t.Errorf("the comparison does not name %q: %v", word, found)
		}
		t.Logf("%d differences, the first: %s", len(found), found[0])
	}
	t.Run("an option missing in a row", func(t *testing.T) {
		id, _, _ := strings.Cut(nbctl("--bare", "--columns=_uuid", "find", "Logical_Router_Static_Route", "nexthop=10.144.100.16"), "\n")
		rows(func() { nbctl("remove", "Logical_Router_Static_Route", id, "options", "ecmp_symmetric_reply") }, "nexthop=10.144.100.16 policy=src-ip")
		nbctl("set", "Logical_Router_Static_Route", id, "options:ecmp_symmetric_reply=true")
	})
	t.Run("an extra row", func(t *testing.T) {
		rows(func() { nbctl("--policy=src-ip", "lr-route-add", "GR_worker-1", "10.131.1.77", "10.144.100.16") }, "10.131.1.77/32")
		nbctl("--policy=src-ip", "lr-route-del", "GR_worker-1", "10.131.1.77")
	})
	t.Run("a lost entry", func(t *testing.T) {
		sim.round, pair[1].round = sim.round+1, pair[1].round+1
		a, b := sim.clients(map[string]string{}), pair[1].clients(map[string]string{})
		before := sim.entries(a)
		for _, conn := range a {
			query := "?pod=" + conn.Greeting.Local.Addr().String()
			if err := ctl.Post(t.Context(), sim.lab.Socket("ovn-node-worker-1"), forward.PathFlush+query, nil); err != nil {
				t.Fatal(err)
			}
		}
		found := conform.Compare("broken", conform.Observation{Entries: sim.entries(a)}, conform.Observation{Entries: pair[1].entries(b)})
		if len(found) == 0 || found[0].Level != conform.LevelEntries {
			t.Errorf("the comparison does not name the lost entries (%v before): %v", before, found)
		}
		t.Log(found)
	})
}
