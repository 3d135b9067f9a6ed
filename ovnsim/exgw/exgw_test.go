package exgw_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/ovnsim/exgw"
	"github.com/spklab/spklab/ovnsim/ovsdb"
)

const node = `
apiVersion: v1
kind: Node
metadata:
  name: worker-1
  annotations:
    k8s.ovn.org/node-subnets: '{"default":["10.131.0.0/23","fd01:0:0:1::/64"]}'
    k8s.ovn.org/node-primary-ifaddr: '{"ipv4":"10.144.100.11/24","ipv6":"fd00:10:144:100::11/64"}'
`

// app is a pod of namespace apps.
func app(name, ips, more string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata:
  name: %s
  namespace: apps
  annotations:
    k8s.ovn.org/pod-networks: '{"default":{"ip_addresses":[%s],"mac_address":"0a:58:0a:83:01:64"}}'
%s`, name, ips, more)
}

const (
	running = "spec: {nodeName: worker-1}\nstatus: {phase: Running}\n"
	both    = `"10.131.1.100/23","fd01:0:0:1::100/64"`
)

// tmm is a gateway pod.
type tmm struct {
	name, network, ips, status, meta string
}

func (g tmm) String() string {
	if g.network == "" {
		g.network = "default/macvlan-internal"
	}
	if g.status == "" {
		g.status = `{phase: Running, conditions: [{type: Ready, status: "True"}]}`
	}
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata:
  name: %s
  %s
  annotations:
    k8s.ovn.org/routing-namespaces: apps
    k8s.ovn.org/routing-network: %s
    k8s.v1.cni.cncf.io/network-status: '[{"name":"default/macvlan-internal","interface":"net1","ips":[%s],"dns":{}}]'
status: %s
`, g.name, g.meta, g.network, g.ips, g.status)
}

func decode(t *testing.T, docs ...string) api.Resources {
	t.Helper()
	objs, err := api.Split("test", []byte(strings.Join(docs, "\n---\n")))
	if err != nil {
		t.Fatal(err)
	}
	res, _, err := api.Decode(objs)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// routes are a router's routes as text.
func routes(rows exgw.Rows, router string) []string {
	var out []string
	for _, r := range rows.Routers {
		for _, x := range r.Routes {
			if r.Name == router {
				out = append(out, fmt.Sprintf("%s by %s out %s", x.Pod, x.Nexthop, x.OutputPort))
			}
		}
	}
	return out
}

func TestDesiredRoutes(t *testing.T) {
	tmm1 := tmm{name: "tmm-1", ips: `"10.144.100.16","fd00:10:144:100::16"`}
	v4 := func(hop string) string { return "10.131.1.100 by " + hop + " out rtoe-GR_worker-1" }
	v6 := func(hop string) string { return "fd01:0:0:1::100 by " + hop + " out rtoe-GR_worker-1" }
	with := func(g tmm, change func(*tmm)) string { change(&g); return g.String() }
	pod := app("app-1", both, running)
	tests := []struct {
		name    string
		docs    []string
		want    []string
		warning string
	}{
		{"both families", []string{node, pod, tmm1.String()}, []string{v4("10.144.100.16"), v6("fd00:10:144:100::16")}, ""},
		{"two gateways", []string{node, pod, tmm1.String(), tmm{name: "tmm-2", ips: `"10.144.100.17"`}.String()},
			[]string{v4("10.144.100.16"), v4("10.144.100.17"), v6("fd00:10:144:100::16")}, ""},
		{"not ready", []string{node, pod, with(tmm1, func(g *tmm) { g.status = `{phase: Running, conditions: [{type: Ready, status: "False"}]}` })}, nil, ""},
		{"on its way out", []string{node, pod, with(tmm1, func(g *tmm) { g.meta = `deletionTimestamp: "2026-01-01T00:00:00Z"` })}, nil, ""},
		{"completed", []string{node, pod, with(tmm1, func(g *tmm) { g.status = `{phase: Failed, conditions: [{type: Ready, status: "True"}]}` })}, nil, ""},
		{"network that no entry has", []string{node, pod, with(tmm1, func(g *tmm) { g.network = "default/other" })}, nil, "matches no entry"},
		{"no address", []string{node, pod, with(tmm1, func(g *tmm) { g.ips = "" })}, nil, "matches no entry"},
		{"other namespace", []string{node, strings.Replace(pod, "namespace: apps", "namespace: other", 1), tmm1.String()}, nil, ""},
		{"no common family", []string{node, app("app-1", `"10.131.1.100/23"`, running), tmm{name: "tmm-1", ips: `"fd00:10:144:100::16"`}.String()}, nil, "no valid routes exist for pod"},
		{"target on its way out keeps its routes", []string{node, app("app-1", both, "  deletionTimestamp: \"2026-01-01T00:00:00Z\"\n"+running), tmm1.String()},
			[]string{v4("10.144.100.16"), v6("fd00:10:144:100::16")}, ""},
		{"completed target", []string{node, app("app-1", both, "spec: {nodeName: worker-1}\nstatus: {phase: Succeeded}\n"), tmm1.String()}, nil, ""},
		{"target in the host's network", []string{node, app("app-1", both, "spec: {nodeName: worker-1, hostNetwork: true}\n"), tmm1.String()}, nil, ""},
		{"target without address", []string{node, strings.Replace(pod, both, "", 1), tmm1.String()}, nil, ""},
		{"namespace annotation", []string{node, pod, "apiVersion: v1\nkind: Namespace\nmetadata: {name: apps, annotations: {k8s.ovn.org/routing-external-gws: '10.144.100.30, 10.144.100.31'}}\n"},
			[]string{v4("10.144.100.30"), v4("10.144.100.31")}, ""},
		{"one bad address in the namespace annotation", []string{node, pod, "apiVersion: v1\nkind: Namespace\nmetadata: {name: apps, annotations: {k8s.ovn.org/routing-external-gws: '10.144.100.30,nonsense'}}\n"}, nil, "nonsense"},
		{"two gateways with one address", []string{node, pod, tmm{name: "tmm-1", ips: `"10.144.100.16"`}.String(), tmm{name: "tmm-2", ips: `"10.144.100.16"`}.String()},
			[]string{v4("10.144.100.16")}, "serves namespace apps as gateway of pod default/tmm-1 already"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rows, warnings := exgw.Desired(decode(t, tt.docs...))
			if diff := cmp.Diff(tt.want, routes(rows, "GR_worker-1"), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("routes (-want +got):\n%s", diff)
			}
			all := strings.Join(warnings, "\n")
			if (tt.warning == "") != (all == "") || !strings.Contains(all, tt.warning) {
				t.Errorf("warnings %q, want one with %q", warnings, tt.warning)
			}
		})
	}
}

func TestDesiredTopology(t *testing.T) {
	rows, warnings := exgw.Desired(decode(t, node, app("app-1", both, running)))
	if len(warnings) != 0 {
		t.Errorf("warnings %v", warnings)
	}
	want := map[string][]string{
		"router GR_worker-1":        {"rtoe-GR_worker-1 0a:58:0a:90:64:0b [10.144.100.11/24 fd00:10:144:100::11/64]", "rtoj-GR_worker-1 0a:58:64:40:00:02 [100.64.0.2/16 fd98::2/64]"},
		"router ovn_cluster_router": {"rtoj-ovn_cluster_router 0a:58:64:40:00:01 [100.64.0.1/16 fd98::1/64]", "rtos-worker-1 0a:58:0a:83:00:01 [10.131.0.1/23 fd01:0:0:1::1/64]"},
		"switch ext_worker-1":       {"br-ex_worker-1 localnet [unknown]", "etor-GR_worker-1 router [router]"},
		"switch join":               {"jtor-GR_worker-1 router [router]", "jtor-ovn_cluster_router router [router]"},
		"switch worker-1":           {"apps_app-1  [0a:58:0a:83:01:64 10.131.1.100 fd01:0:0:1::100]", "stor-worker-1 router [router]"},
	}
	got := map[string][]string{}
	for _, r := range rows.Routers {
		for _, p := range r.Ports {
			got["router "+r.Name] = append(got["router "+r.Name], fmt.Sprintf("%s %s %v", p.Name, p.MAC, p.Networks))
		}
	}
	for _, s := range rows.Switches {
		for _, p := range s.Ports {
			got["switch "+s.Name] = append(got["switch "+s.Name], fmt.Sprintf("%s %s %v", p.Name, p.Type, p.Addresses))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("topology (-want +got):\n%s", diff)
	}
}

// bench is a database with an object store and a controller between them.
type bench struct {
	t          *testing.T
	nb, store  string
	ctl        string
	controller context.CancelFunc
	ended      chan error
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	b := &bench{t: t, nb: filepath.Join(dir, "nb.sock"), store: filepath.Join(dir, "manifests"), ctl: filepath.Join(dir, "ctl.sock")}
	if err := os.Mkdir(b.store, 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	ready := filepath.Join(dir, "nbctl.sock")
	go func() { served <- ovsdb.Run(ctx, ovsdb.Config{Listen: b.nb, Ctl: ready}) }()
	b.eventually(func() error { return ctl.Get(t.Context(), ready, ctl.PathReady, nil) })
	t.Cleanup(func() {
		b.stop()
		cancel()
		if err := <-served; err != nil {
			t.Errorf("database: %v", err)
		}
	})
	return b
}

func (b *bench) start() {
	ctx, cancel := context.WithCancel(context.Background())
	b.controller, b.ended = cancel, make(chan error, 1)
	go func() {
		b.ended <- exgw.Run(ctx, exgw.Config{NB: "unix:" + b.nb, Manifests: b.store, Ctl: b.ctl})
	}()
	b.eventually(func() error { return ctl.Get(b.t.Context(), b.ctl, ctl.PathReady, nil) })
}

func (b *bench) stop() {
	if b.controller == nil {
		return
	}
	b.controller()
	if err := <-b.ended; err != nil {
		b.t.Errorf("controller: %v", err)
	}
	b.controller = nil
}

func (b *bench) eventually(f func() error) {
	b.t.Helper()
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	b.t.Fatal(err)
}

func (b *bench) put(name, text string) {
	b.t.Helper()
	tmp := filepath.Join(b.store, ".tmp-"+name)
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(b.store, name)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) remove(name string) {
	b.t.Helper()
	if err := os.Remove(filepath.Join(b.store, name)); err != nil {
		b.t.Fatal(err)
	}
}

// holds waits until the database holds exactly these routes.
func (b *bench) holds(want ...string) {
	b.t.Helper()
	b.eventually(func() error {
		var st exgw.State
		if err := ctl.Get(b.t.Context(), b.ctl, ctl.PathState, &st); err != nil {
			return err
		}
		var got []string
		for _, r := range st.Routes {
			got = append(got, fmt.Sprintf("%s %s by %s", r.Router, r.Pod, r.Nexthop))
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			return fmt.Errorf("routes (-want +got), error %q:\n%s", st.Error, diff)
		}
		return nil
	})
}

func TestControllerConverges(t *testing.T) {
	b := newBench(t)
	b.put("node.yaml", node)
	b.put("app-1.yaml", app("app-1", `"10.131.1.100/23"`, running))
	b.put("tmm-1.yaml", tmm{name: "tmm-1", ips: `"10.144.100.16"`}.String())
	b.start()
	first := "GR_worker-1 10.131.1.100 by 10.144.100.16"
	second := "GR_worker-1 10.131.1.100 by 10.144.100.17"
	b.holds(first)
	b.put("tmm-2.yaml", tmm{name: "tmm-2", ips: `"10.144.100.17"`}.String())
	b.holds(first, second)
	b.remove("tmm-1.yaml")
	b.holds(second)

	// While the controller is down one gateway leaves and another comes: no row may be stale or lost.
	b.stop()
	b.remove("tmm-2.yaml")
	b.put("tmm-3.yaml", tmm{name: "tmm-3", ips: `"10.144.100.18"`}.String())
	b.start()
	b.holds("GR_worker-1 10.131.1.100 by 10.144.100.18")

	b.remove("app-1.yaml")
	b.holds()
	var events []ctl.Event
	if err := ctl.Get(t.Context(), b.ctl, ctl.PathEvents, &events); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, e := range events {
		kinds[e.Kind]++
	}
	if want := map[string]int{exgw.EventRouteAdded: 1, exgw.EventRouteRemoved: 2}; !cmp.Equal(want, kinds) {
		t.Errorf("events %v, want %v: %+v", kinds, want, events)
	}
}

// TestHandmadeRowsStay checks that routes of other people are left alone.
func TestHandmadeRowsStay(t *testing.T) {
	b := newBench(t)
	b.put("node.yaml", node)
	b.put("app-1.yaml", app("app-1", `"10.131.1.100/23"`, running))
	b.put("tmm-1.yaml", tmm{name: "tmm-1", ips: `"10.144.100.16"`}.String())
	b.start()
	b.holds("GR_worker-1 10.131.1.100 by 10.144.100.16")
	b.transact(`{"op":"insert","table":"Logical_Router_Static_Route","uuid-name":"x","row":{"ip_prefix":"0.0.0.0/0","nexthop":"10.144.100.1"}}`,
		`{"op":"mutate","table":"Logical_Router","where":[["name","==","GR_worker-1"]],"mutations":[["static_routes","insert",["named-uuid","x"]]]}`)
	b.remove("tmm-1.yaml")
	b.holds()
	if n := b.count("Logical_Router_Static_Route"); n != 1 {
		t.Errorf("%d routes left, want the one made by hand", n)
	}
	b.remove("node.yaml")
	b.eventually(func() error {
		if n := b.count("Logical_Router"); n != 1 {
			return fmt.Errorf("%d routers, want ovn_cluster_router alone after the node has gone", n)
		}
		return nil
	})
}

func (b *bench) transact(ops ...string) json.RawMessage {
	b.t.Helper()
	conn, err := net.Dial("unix", b.nb)
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, `{"id":1,"method":"transact","params":["OVN_Northbound",%s]}`, strings.Join(ops, ",")); err != nil {
		b.t.Fatal(err)
	}
	var answer struct {
		Result json.RawMessage `json:"result"`
	}
	if err := json.NewDecoder(conn).Decode(&answer); err != nil {
		b.t.Fatal(err)
	}
	if strings.Contains(string(answer.Result), `"error"`) {
		b.t.Fatalf("transaction: %s", answer.Result)
	}
	return answer.Result
}

func (b *bench) count(table string) int {
	b.t.Helper()
	var result []struct {
		Rows []struct{} `json:"rows"`
	}
	if err := json.Unmarshal(b.transact(fmt.Sprintf(`{"op":"select","table":%q,"where":[]}`, table)), &result); err != nil {
		b.t.Fatal(err)
	}
	return len(result[0].Rows)
}
