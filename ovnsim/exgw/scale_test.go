package exgw_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/ovnsim/exgw"
	"github.com/spklab/spklab/ovnsim/ovsdb"
)

// The test binary runs itself as the database, so that its memory can be told from the controller's.
const serverEnv = "EXGW_TEST_SERVER"

func TestMain(m *testing.M) {
	if path := os.Getenv(serverEnv); path != "" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		if err := ovsdb.Run(ctx, ovsdb.Config{Listen: path}); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// startProcess runs our server as a process of its own.
func (b *bench) startProcess() {
	b.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serverEnv+"="+b.nb)
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.served, b.pid = make(chan error, 1), cmd.Process.Pid
	b.database = func() { _ = cmd.Process.Kill() }
	go func() {
		_ = cmd.Wait() // killed
		b.served <- nil
	}()
	b.eventually(func() error {
		conn, err := net.Dial("unix", b.nb)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
}

// memory is a process's most memory so far, in bytes.
func (b *bench) memory() float64 {
	b.t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.pid))
	if err != nil {
		b.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.Atoi(strings.Fields(text)[0])
			if err != nil {
				b.t.Fatal(err)
			}
			return float64(n) * 1024
		}
	}
	b.t.Fatal("no VmHWM")
	return 0
}

// size is how large a cluster is: pods in one namespace over nodes, and TMMs that serve it.
type size struct{ nodes, pods, tmms int }

func (s size) routes() int { return s.pods * s.tmms }

// fill writes the objects of a cluster, one address of IPv4 a pod.
func (b *bench) fill(s size) {
	b.t.Helper()
	var nodes, pods []string
	for n := range s.nodes {
		nodes = append(nodes, strings.NewReplacer("worker-1", fmt.Sprintf("worker-%d", n+1), "10.131.0.0/23", fmt.Sprintf("10.131.%d.0/23", 2*n),
			"0:1::/64", fmt.Sprintf("0:%d::/64", n+1), ".100.11", fmt.Sprintf(".100.%d", 100+n), "::11", fmt.Sprintf("::%d", 100+n)).Replace(node))
	}
	for i := range s.pods {
		n, k := i%s.nodes, i/s.nodes
		pods = append(pods, app(fmt.Sprintf("app-%d", i), fmt.Sprintf(`"10.131.%d.%d/23"`, 2*n+k/250, 3+k%250),
			fmt.Sprintf("spec: {nodeName: worker-%d}\nstatus: {phase: Running}\n", n+1)))
	}
	b.put("nodes.yaml", strings.Join(nodes, "\n---\n"))
	for i := range s.tmms {
		b.put(fmt.Sprintf("tmm-%d.yaml", i), tmm{name: fmt.Sprintf("tmm-%d", i), ips: fmt.Sprintf(`"10.144.100.%d"`, 16+i)}.String())
	}
	b.put("pods.yaml", strings.Join(pods, "\n---\n"))
}

// has waits until the controller says that so many routes stand.
func (b *bench) has(n int) {
	b.t.Helper()
	b.eventually(func() error {
		var st exgw.State
		if err := b.ask(&st); err != nil {
			return err
		}
		if len(st.Routes) != n || st.Error != "" {
			return fmt.Errorf("%d routes, want %d; error %q", len(st.Routes), n, st.Error)
		}
		return nil
	})
}

// seen is how many rows of each table a transaction deleted and inserted.
type seen map[string][2]int

// watch counts, at the server, how many routes each transaction deletes and inserts.
func (b *bench) watch() <-chan [2]int {
	b.t.Helper()
	out := make(chan [2]int, 100_000)
	all := b.watchTables(routeTable)
	go func() {
		defer close(out)
		for s := range all {
			out <- s[routeTable]
		}
	}()
	return out
}

const routeTable = "Logical_Router_Static_Route"

// watchTables tells of each transaction that changes rows of these tables: a monitor of RFC 7047 gets
// one notification a transaction.
func (b *bench) watchTables(tables ...string) <-chan seen {
	b.t.Helper()
	conn, err := net.Dial("unix", b.nb)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = conn.Close() })
	var wanted []string
	for _, table := range tables {
		wanted = append(wanted, fmt.Sprintf("%q:{}", table))
	}
	if _, err := fmt.Fprintf(conn, `{"id":1,"method":"monitor","params":["OVN_Northbound",1,{%s}]}`, strings.Join(wanted, ",")); err != nil {
		b.t.Fatal(err)
	}
	d := json.NewDecoder(bufio.NewReader(conn))
	var first json.RawMessage
	if err := d.Decode(&first); err != nil { // what stands
		b.t.Fatal(err)
	}
	out := make(chan seen, 100_000)
	go func() {
		defer close(out)
		for {
			var m struct {
				Method string            `json:"method"`
				Params []json.RawMessage `json:"params"`
			}
			if d.Decode(&m) != nil {
				return
			}
			var tables map[string]map[string]struct{ Old, New json.RawMessage }
			if m.Method != "update" || len(m.Params) != 2 || json.Unmarshal(m.Params[1], &tables) != nil {
				continue
			}
			s := seen{}
			for table, rows := range tables {
				n := s[table]
				for _, row := range rows {
					if row.New == nil {
						n[0]++
					} else if row.Old == nil {
						n[1]++
					}
				}
				s[table] = n
			}
			out <- s
		}
	}()
	return out
}

// drain are the transactions that were seen until rows of one kind sum up.
func (b *bench) drain(seen <-chan [2]int, which, sum int) []int {
	b.t.Helper()
	var out []int
	deadline := time.After(time.Minute)
	for sum > 0 {
		select {
		case n := <-seen:
			if n[which] > 0 {
				out = append(out, n[which])
				sum -= n[which]
			}
		case <-deadline:
			b.t.Fatalf("%d rows are missing after %v", sum, out)
		}
	}
	return out
}

// TestOneTransaction: what happens to one pod or one gateway is one transaction, as the server sees
// it.
func TestOneTransaction(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		s := size{nodes: 2, pods: 20, tmms: 4}
		seen := b.watch()
		b.fill(s)
		b.start()
		b.has(s.routes())
		one := func(what string, which, rows int) {
			t.Helper()
			if got := b.drain(seen, which, rows); len(got) != 1 {
				t.Errorf("%s: %d transactions %v, want one of %d rows", what, len(got), got, rows)
			}
		}
		joins := b.drain(seen, 1, s.routes()+3*s.nodes+s.nodes) // the first is the topology
		if want := 1 + s.pods; len(joins) != want {
			t.Errorf("the first rows came in %d transactions %v, want one for the topology and one for each of %d pods", len(joins), joins, s.pods)
		}
		b.remove("tmm-3.yaml")
		one("a TMM leaves", 0, s.pods)
		b.put("tmm-3.yaml", tmm{name: "tmm-3", ips: `"10.144.100.19"`}.String())
		one("a TMM comes", 1, s.pods)
		b.put("late.yaml", app("late", both, running))
		one("a pod comes", 1, s.tmms)
		b.remove("late.yaml")
		one("a pod goes", 0, s.tmms)
		two := tmm{name: "tmm-9", ips: `"10.144.100.40","fd00::40"`}.String()
		b.put("late.yaml", app("late", both, running))
		one("a pod comes again", 1, s.tmms)
		b.put("tmm-9.yaml", two)
		one("a TMM of both families comes", 1, s.pods+2)
		b.remove("tmm-9.yaml")
		one("a TMM of both families leaves", 0, s.pods+2)
		for i := range s.tmms {
			b.remove(fmt.Sprintf("tmm-%d.yaml", i))
			one("a TMM leaves", 0, s.pods+1)
		}
		b.put("tmm-0.yaml", tmm{name: "tmm-0", ips: `"10.144.100.16"`}.String())
		one("the first TMM comes", 1, s.pods+1)
	})
}

// TestWhole: what belongs to the last route of a pod, of a gateway with BFD or of a node in local
// gateway mode comes and goes with it in one transaction, and what others need stays.
func TestWhole(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		b.opt.GatewayMode = exgw.GatewayLocal
		b.put("node.yaml", node)
		b.put("app-1.yaml", app("app-1", `"10.131.1.100/23"`, running))
		b.put("app-2.yaml", app("app-2", `"10.131.1.101/23"`, running))
		b.start()
		b.holds()
		all := b.watchTables(routeTable, "BFD", "NAT", "Address_Set", "Logical_Router_Policy")
		gateway := mustReplace(t, tmm{name: "tmm-1", ips: `"10.144.100.16"`}.String(), "  annotations:\n", "  annotations:\n    k8s.ovn.org/bfd-enabled: ''\n")
		next := func(what string, want seen) {
			t.Helper()
			select {
			case got := <-all:
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: rows deleted and inserted (-want +got):\n%s", what, diff)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("%s: nothing happens", what)
			}
		}
		come := seen{routeTable: {0, 2}, "BFD": {0, 1}, "NAT": {2, 0}, "Address_Set": {0, 1}, "Logical_Router_Policy": {0, 1}}
		gone := seen{routeTable: {2, 0}, "BFD": {1, 0}, "NAT": {0, 2}, "Address_Set": {1, 0}, "Logical_Router_Policy": {1, 0}}
		for range 2 {
			b.put("tmm-1.yaml", gateway)
			next("the first gateway comes", come)
			b.put("app-3.yaml", app("app-3", `"10.131.1.102/23"`, running))
			next("a pod comes", seen{routeTable: {0, 1}, "Address_Set": {0, 0}})
			b.remove("app-3.yaml")
			next("a pod goes", seen{routeTable: {1, 0}, "Address_Set": {0, 0}})
			b.remove("tmm-1.yaml")
			next("the last gateway goes", gone)
		}
		b.put("tmm-1.yaml", gateway)
		next("the first gateway comes", come)
		b.remove("app-1.yaml")
		next("a pod goes", seen{routeTable: {1, 0}, "Address_Set": {0, 0}})
		b.remove("app-2.yaml")
		next("the last pod goes", seen{routeTable: {1, 0}, "BFD": {1, 0}, "Address_Set": {1, 0}, "Logical_Router_Policy": {1, 0}})
		b.read(world{"node.yaml": node})
		select {
		case more := <-all: // the pod that read needs is translated
			if more[routeTable] != [2]int{} || more["BFD"] != [2]int{} {
				t.Errorf("and then %v", more)
			}
		default:
		}
	})
}

// BenchmarkTenThousandRoutes inserts 10,000 routes through the controller into our server and into
// ovsdb-server, one after the other in one run, and has one TMM leave. The metrics are ratios of ours to
// ovsdb-server: of the time until the server tells who watches it, and of its memory.
func BenchmarkTenThousandRoutes(bb *testing.B) {
	s := size{nodes: 5, pods: 1250, tmms: 8}
	for bb.Loop() {
		results := map[string]scaled{}
		for _, kind := range []string{process, reference} {
			results[kind] = insert(bb, kind, s)
		}
		a, r := results[process], results[reference]
		bb.ReportMetric(a.insert.Seconds()/r.insert.Seconds(), "insert-time/ovsdb-server")
		bb.ReportMetric(a.leave.Seconds()/r.leave.Seconds(), "leave-time/ovsdb-server")
		bb.ReportMetric(a.memory/r.memory, "memory/ovsdb-server")
		bb.ReportMetric(float64(a.transactions), "leave-transactions")
		bb.Logf("%d routes: ours %+v, ovsdb-server %+v", s.routes(), a, r)
	}
}

// scaled is what one server needed.
type scaled struct {
	insert, leave time.Duration
	memory        float64 // bytes, at most
	transactions  int     // in which the rows of one TMM went
}

func insert(t testing.TB, kind string, s size) scaled {
	t.Helper()
	b := newBenchOn(t, kind)
	b.patience = 5 * time.Minute
	b.fill(s)
	var out scaled
	seen := b.watch()
	begin := time.Now()
	b.start()
	b.drain(seen, 1, s.routes()+4*s.nodes) // with those between the routers
	out.insert = time.Since(begin)
	b.has(s.routes())
	begin = time.Now()
	b.remove("tmm-0.yaml")
	got := b.drain(seen, 0, s.pods)
	out.leave = time.Since(begin)
	out.transactions = len(got)
	out.memory = b.memory()
	if len(got) != 1 {
		t.Errorf("%s: the %d rows of one TMM went in %d transactions", kind, s.pods, len(got))
	}
	b.stop()
	b.stopDatabase()
	b.gone = true
	return out
}
