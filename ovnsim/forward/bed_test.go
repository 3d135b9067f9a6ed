package forward_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/ovnsim/forward"
	"github.com/spklab/spklab/ovnsim/ovsdb"
	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/topo"
)

// The test binary runs itself as the node's datapath.
const agentEnv = "FORWARD_TEST_CONFIG"

func TestMain(m *testing.M) {
	if text := os.Getenv(agentEnv); text != "" {
		if err := runAgent(text); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func runAgent(text string) error {
	var cfg forward.Config
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return forward.Run(ctx, cfg)
}

const (
	podV4, podV6   = "10.131.1.100", "fd01:0:0:1::100"
	outV4, outV6   = "192.0.2.99", "2001:db8:2::99" // an address that every gateway has
	nodeV4, nodeV6 = "10.144.100.11", "fd00:10:144:100::11"
)

func gatewayV4(n int) string { return fmt.Sprintf("10.144.100.%d", 15+n) }
func gatewayV6(n int) string { return fmt.Sprintf("fd00:10:144:100::%d", 15+n) }

// bed is a node with one pod and three gateways.
type bed struct {
	t    *testing.T
	rt   *topo.Runtime
	nb   string
	node string // control socket of the datapath

	database context.CancelFunc
	served   chan error

	ports int // how many source ports of TCP have been given out
}

// firstPort is the first of them, below those that the kernel gives. What a hash over them decides is the same
// in every run.
const firstPort = 20000

func newBed(t *testing.T, name string, disable ...forward.Feature) *bed {
	t.Helper()
	return newBedOf(t, name, forward.Config{Disable: disable})
}

// newBedOf is a bed with a profile of its own.
func newBedOf(t *testing.T, name string, cfg forward.Config) *bed {
	t.Helper()
	roottest.Need(t)
	dir := t.TempDir()
	b := &bed{t: t, rt: topo.Host{Run: filepath.Join(dir, "run")}.Open(name), nb: filepath.Join(dir, "nb.sock"), node: filepath.Join(dir, "node.sock")}
	b.startDatabase()
	t.Cleanup(func() {
		if err := b.rt.Down(context.Background(), nil); err != nil {
			t.Errorf("down: %v", err)
		}
		b.stopDatabase()
	})
	b.fillDatabase()
	cfg.Node, cfg.NB, cfg.Bridge, cfg.Uplink, cfg.Ctl = "w1", "unix:"+b.nb, "br-int", "ens192", b.node
	config, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	steps := append(b.wiring(), topo.Step{Process: &topo.ProcessStep{
		Name: "node", Netns: b.rt.Netns("w1"), Argv: []string{"/proc/self/exe"}, Env: []string{agentEnv + "=" + string(config)}, Ready: b.node,
	}})
	if err := b.rt.Converge(t.Context(), topo.NewPlan(steps), nil); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bed) startDatabase() {
	ctx, cancel := context.WithCancel(context.Background())
	b.database, b.served = cancel, make(chan error, 1)
	go func() { b.served <- ovsdb.Run(ctx, ovsdb.Config{Listen: b.nb}) }()
}

func (b *bed) stopDatabase() {
	b.database()
	if err := <-b.served; err != nil {
		b.t.Errorf("database: %v", err)
	}
}

func (b *bed) wiring() []topo.Step {
	ns := b.rt.Netns
	var steps []topo.Step
	addr := func(node, link, prefix string) {
		steps = append(steps, topo.Step{Addr: &topo.AddrStep{Netns: ns(node), Link: link, Prefix: netip.MustParsePrefix(prefix)}})
	}
	route := func(node, to, via string) {
		steps = append(steps, topo.Step{Route: &topo.RouteStep{Netns: ns(node), To: netip.MustParsePrefix(to), Via: netip.MustParseAddr(via)}})
	}
	nodes := []string{"lan", "w1", "p1", "g1", "g2", "g3"}
	for _, n := range nodes {
		steps = append(steps, topo.Step{Netns: &topo.NetnsStep{Name: ns(n)}},
			topo.Step{Sysctl: &topo.SysctlStep{Netns: ns(n), Key: "net.ipv6.conf.default.accept_dad", Value: "0"}})
	}
	steps = append(steps, topo.Forwarding(ns("w1"), false)...)
	steps = append(steps,
		topo.Step{Bridge: &topo.BridgeStep{Netns: ns("lan"), Name: "internal"}},
		topo.Step{Bridge: &topo.BridgeStep{Netns: ns("w1"), Name: "br-int", MAC: "0a:58:0a:83:00:01"}},
		topo.Step{Veth: &topo.VethStep{A: topo.VethEnd{Netns: ns("w1"), Name: "ens192"}, B: topo.VethEnd{Netns: ns("lan"), Name: "w1", Master: "internal"}}},
		topo.Step{Veth: &topo.VethStep{A: topo.VethEnd{Netns: ns("p1"), Name: "eth0", MAC: "0a:58:0a:83:01:64"}, B: topo.VethEnd{Netns: ns("w1"), Name: "p1", Master: "br-int"}}})
	addr("w1", "br-int", "10.131.0.1/23")
	addr("w1", "br-int", "fd01:0:0:1::1/64")
	addr("w1", "ens192", nodeV4+"/24")
	addr("w1", "ens192", nodeV6+"/64")
	addr("p1", "eth0", podV4+"/23")
	addr("p1", "eth0", podV6+"/64")
	route("p1", "0.0.0.0/0", "10.131.0.1")
	route("p1", "::/0", "fd01:0:0:1::1")
	for i := 1; i <= 3; i++ {
		g := fmt.Sprintf("g%d", i)
		steps = append(steps, topo.Step{Veth: &topo.VethStep{A: topo.VethEnd{Netns: ns(g), Name: "net1"}, B: topo.VethEnd{Netns: ns("lan"), Name: g, Master: "internal"}}})
		addr(g, "net1", gatewayV4(i)+"/24")
		addr(g, "net1", gatewayV6(i)+"/64")
		addr(g, "lo", outV4+"/32")
		addr(g, "lo", outV6+"/128")
		route(g, "10.131.0.0/16", nodeV4)
		route(g, "fd01::/48", nodeV6)
	}
	return steps
}

// transact runs operations on the database.
func (b *bed) transact(ops ...string) {
	b.t.Helper()
	var conn net.Conn
	var err error
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if conn, err = net.Dial("unix", b.nb); err == nil || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, `{"id":1,"method":"transact","params":["OVN_Northbound",%s]}`, strings.Join(ops, ","))
	var answer struct {
		Result []struct{ Error, Details string } `json:"result"`
		Error  json.RawMessage                   `json:"error"`
	}
	if err := json.NewDecoder(conn).Decode(&answer); err != nil {
		b.t.Fatal(err)
	}
	for _, r := range answer.Result {
		if r.Error != "" {
			b.t.Fatalf("transaction: %s: %s", r.Error, r.Details)
		}
	}
}

// fillDatabase writes the rows of the node and its pod.
func (b *bed) fillDatabase() { b.transact(nodeRows()...) }

// restoreDatabase writes those rows and the pod's routes in one transaction, as a backup comes
// back: a reader in between would rightly flush what the pod has no route for.
func (b *bed) restoreDatabase(gateways ...int) {
	b.transact(append(nodeRows(), routeRows(gateways)...)...)
	b.routed(gateways)
}

func nodeRows() []string {
	return []string{
		`{"op":"insert","table":"Logical_Switch_Port","uuid-name":"p","row":{"name":"ns_p1","addresses":"0a:58:0a:83:01:64 ` + podV4 + ` ` + podV6 + `"}}`,
		`{"op":"insert","table":"Logical_Switch","row":{"name":"w1","ports":["named-uuid","p"],"other_config":["map",[["subnet","10.131.0.0/23"],["ipv6_prefix","fd01:0:0:1::"]]]}}`,
		`{"op":"insert","table":"Logical_Router_Port","uuid-name":"e","row":{"name":"rtoe-GR_w1","mac":"02:00:00:00:00:01","networks":["set",["` + nodeV4 + `/24","` + nodeV6 + `/64"]]}}`,
		`{"op":"insert","table":"Logical_Router_Port","uuid-name":"j","row":{"name":"rtoj-GR_w1","mac":"02:00:00:00:00:02","networks":["set",["100.64.0.2/16","fd98::2/64"]]}}`,
		`{"op":"insert","table":"Logical_Router","row":{"name":"GR_w1","ports":["set",[["named-uuid","e"],["named-uuid","j"]]]}}`,
		`{"op":"insert","table":"Logical_Router_Port","uuid-name":"s","row":{"name":"rtos-w1","mac":"02:00:00:00:00:03","networks":["set",["10.131.0.1/23","fd01:0:0:1::1/64"]]}}`,
		`{"op":"insert","table":"Logical_Router_Port","uuid-name":"c","row":{"name":"rtoj-ovn_cluster_router","mac":"02:00:00:00:00:04","networks":["set",["100.64.0.1/16","fd98::1/64"]]}}`,
		`{"op":"insert","table":"Logical_Router","row":{"name":"ovn_cluster_router","ports":["set",[["named-uuid","s"],["named-uuid","c"]]]}}`,
	}
}

// gateways replaces the pod's routes and waits until the datapath has them.
func (b *bed) gateways(numbers ...int) {
	b.t.Helper()
	b.transact(routeRows(numbers)...)
	b.routed(numbers)
}

// routeRows are the operations that make these gateways the pod's only ones.
func routeRows(numbers []int) []string { return routeRowsBy(numbers, "", nil) }

// routeRowsBy are the same, with an operation before each route, and more columns in it: %s there is the
// route's name.
func routeRowsBy(numbers []int, columns string, before func(name, hop string) string) []string {
	ops := []string{`{"op":"update","table":"Logical_Router","where":[["name","==","GR_w1"]],"row":{"static_routes":["set",[]]}}`}
	var refs []string
	for _, n := range numbers {
		for pod, hop := range map[string]string{podV4: gatewayV4(n), podV6: gatewayV6(n)} {
			name := fmt.Sprintf("r%d", len(refs))
			more := ""
			if before != nil {
				ops, more = append(ops, before(name, hop)), fmt.Sprintf(columns, name)
			}
			ops = append(ops, fmt.Sprintf(`{"op":"insert","table":"Logical_Router_Static_Route","uuid-name":%q,"row":{"ip_prefix":%q,"nexthop":%q,"policy":"src-ip","options":["map",[["ecmp_symmetric_reply","true"]]]%s}}`, name, pod, hop, more))
			refs = append(refs, fmt.Sprintf(`["named-uuid",%q]`, name))
		}
	}
	return append(ops, fmt.Sprintf(`{"op":"mutate","table":"Logical_Router","where":[["name","==","GR_w1"]],"mutations":[["static_routes","insert",["set",[%s]]]]}`, strings.Join(refs, ",")))
}

// routed waits until the datapath has exactly these gateways.
func (b *bed) routed(numbers []int) {
	b.t.Helper()
	var st forward.State
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err := ctl.Get(b.t.Context(), b.node, ctl.PathState, &st); err != nil {
			b.t.Fatal(err)
		}
		if (len(numbers) == 0 && len(st.Pods) == 0) || (len(st.Pods) == 2 && len(st.Pods[0].Gateways) == len(numbers) && len(st.Pods[1].Gateways) == len(numbers)) {
			return
		}
	}
	b.t.Fatalf("the datapath has %+v, want gateways %v", st.Pods, numbers)
}

func (b *bed) state() forward.State {
	b.t.Helper()
	var st forward.State
	if err := ctl.Get(b.t.Context(), b.node, ctl.PathState, &st); err != nil {
		b.t.Fatal(err)
	}
	return st
}

// conns is the conntrack of the node.
func (b *bed) conns() []forward.Conn {
	b.t.Helper()
	var out []forward.Conn
	if err := ctl.Get(b.t.Context(), b.node, forward.PathConns, &out); err != nil {
		b.t.Fatal(err)
	}
	return out
}

// mac is the MAC of a gateway.
func (b *bed) mac(gateway string) string {
	b.t.Helper()
	var out string
	if err := topo.Do(b.rt.Netns(gateway), func() error {
		i, err := net.InterfaceByName("net1")
		if err == nil {
			out = i.HardwareAddr.String()
		}
		return err
	}); err != nil {
		b.t.Fatal(err)
	}
	return out
}

// serve answers every TCP connection and UDP datagram to an address of a node with the node's
// name, and echoes what comes after.
func (b *bed) serve(node string, addr string) {
	b.t.Helper()
	var l net.Listener
	var u net.PacketConn
	err := topo.Do(b.rt.Netns(node), func() (err error) {
		if l, err = net.Listen("tcp", addr); err != nil {
			return err
		}
		u, err = net.ListenPacket("udp", addr)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { l.Close(); u.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); fmt.Fprintln(c, node); io.Copy(c, c) }()
		}
	}()
	go func() {
		buf := make([]byte, 1500)
		for {
			_, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			u.WriteTo([]byte(node+"\n"), from)
		}
	}()
}

const patience = 3 * time.Second

// dial connects from a node, from a local address where one is given.
func (b *bed) dial(node, network, from, to string) (net.Conn, *bufio.Reader, string, error) {
	var c net.Conn
	err := topo.Do(b.rt.Netns(node), func() (err error) {
		d := net.Dialer{Timeout: patience}
		switch {
		case network == "udp":
			from, err := netip.ParseAddrPort(from)
			if err != nil {
				return err
			}
			d.LocalAddr = net.UDPAddrFromAddrPort(from)
		default: // from any address where none is given
			d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from), Port: firstPort + b.ports}
			b.ports++
		}
		c, err = d.Dial(network, to)
		return err
	})
	if err != nil {
		return nil, nil, "", err
	}
	if network == "udp" {
		fmt.Fprintln(c, "hello")
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, nil, "", err
	}
	r := bufio.NewReader(c)
	who, err := r.ReadString('\n')
	if err != nil {
		c.Close()
		return nil, nil, "", err
	}
	return c, r, strings.TrimSpace(who), nil
}

// alive says whether a connection still carries data both ways.
func alive(c net.Conn, r *bufio.Reader) error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(c, "ping"); err != nil {
		return err
	}
	line, err := r.ReadString('\n')
	if err == nil && line != "ping\n" {
		err = fmt.Errorf("got %q back", line)
	}
	return err
}

func (b *bed) servers() {
	for _, g := range []string{"g1", "g2", "g3"} {
		b.serve(g, net.JoinHostPort(outV4, "7"))
		b.serve(g, net.JoinHostPort(outV6, "7"))
	}
}

// split counts by which gateway new connections leave.
func (b *bed) split(network, to string, n int) (map[string]int, error) {
	got := map[string]int{}
	for i := range n {
		from := ""
		if network == "udp" { // a port of its own each: a port that is used again is no new connection
			from = fmt.Sprintf(":%d", 20000+i)
			if strings.HasPrefix(to, "[") {
				from = fmt.Sprintf("[::]:%d", 20000+i)
			} else {
				from = "0.0.0.0" + from
			}
		}
		c, _, who, err := b.dial("p1", network, from, to)
		if err != nil {
			return got, err
		}
		got[who]++
		c.Close()
	}
	return got, nil
}
