package exgw_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/ovnsim/exgw"
	"github.com/spklab/spklab/ovnsim/northbound"
)

// rows are the database's rows as text without UUIDs, sorted.
func (b *bench) rows() []string {
	b.t.Helper()
	top, err := northbound.Read(b.t.Context(), "unix:"+b.nb)
	if err != nil {
		b.t.Fatal(err)
	}
	names := map[string]string{} // of rows by UUID
	for _, x := range top.BFDs {
		names[x.UUID] = x.LogicalPort + ">" + x.DstIP
	}
	var out []string
	add := func(format string, args ...any) string {
		out = append(out, fmt.Sprintf(format, args...))
		return out[len(out)-1]
	}
	for _, x := range top.BFDs {
		add("BFD %s %v", names[x.UUID], x.ExternalIDs)
	}
	for _, x := range top.Routes {
		session := ""
		if x.BFD != nil {
			session = names[*x.BFD]
		}
		names[x.UUID] = add("route %s by %s policy %s out %s bfd %q %v %v %s", x.IPPrefix, x.Nexthop, text(x.Policy), text(x.OutputPort), session, x.Options, x.ExternalIDs, x.RouteTable)
	}
	for _, x := range top.NATs {
		names[x.UUID] = add("nat %s %s %s", x.Type, x.LogicalIP, x.ExternalIP)
	}
	for _, x := range top.Policies {
		names[x.UUID] = add("policy %d %s %s %v", x.Priority, x.Match, x.Action, x.Nexthops)
	}
	for _, x := range top.AddressSets {
		add("set %s %v %v", x.Name, sorted(x.Addresses), x.ExternalIDs)
	}
	for _, x := range top.RouterPorts {
		names[x.UUID] = add("router port %s %s %v", x.Name, x.MAC, sorted(x.Networks))
	}
	for _, x := range top.SwitchPorts {
		names[x.UUID] = add("switch port %s %q %v %v %v", x.Name, x.Type, x.Addresses, x.Options, x.ExternalIDs)
	}
	refs := func(ids []string) []string {
		var got []string
		for _, id := range ids {
			got = append(got, names[id])
		}
		return sorted(got)
	}
	for _, x := range top.Routers {
		add("router %s %v: %v", x.Name, x.Options, slices.Concat(refs(x.Ports), refs(x.StaticRoutes), refs(x.Nat), refs(x.Policies)))
	}
	for _, x := range top.Switches {
		add("switch %s %v: %v", x.Name, x.OtherConfig, refs(x.Ports))
	}
	return sorted(out)
}

func text(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}

func sorted(in []string) []string {
	out := slices.Clone(in)
	slices.Sort(out)
	return out
}

// ids are the UUIDs of the routes of external gateways by pod and gateway.
func (b *bench) ids() map[string]string {
	b.t.Helper()
	top, err := northbound.Read(b.t.Context(), "unix:"+b.nb)
	if err != nil {
		b.t.Fatal(err)
	}
	out := map[string]string{}
	for _, r := range top.Routes {
		if r.Options["ecmp_symmetric_reply"] != "" {
			out[r.IPPrefix+" "+r.Nexthop] = r.UUID
		}
	}
	return out
}

// world is the state of the objects of a test: files by name.
type world map[string]string

// becomes brings the object store to a world.
func (b *bench) becomes(old, now world) {
	b.t.Helper()
	for name, text := range now {
		if old[name] != text {
			b.put(name, text)
		}
	}
	for name := range old {
		if _, ok := now[name]; !ok {
			b.remove(name)
		}
	}
}

// expects waits until the controller says that the routes stand which follow from the objects.
func (b *bench) expects(w world) {
	b.t.Helper()
	var want []string
	for _, r := range exgw.Compute(decode(b.t, w.docs()...), b.opt).Rows.Routers {
		for _, x := range r.Routes {
			if x.Symmetric {
				want = append(want, fmt.Sprintf("%s %s by %s bfd %v", r.Name, x.Prefix.Addr(), x.Nexthop, x.BFD))
			}
		}
	}
	slices.Sort(want)
	b.eventually(func() error {
		var st exgw.State
		if err := b.ask(&st); err != nil {
			return err
		}
		var got []string
		for _, r := range st.Routes {
			got = append(got, fmt.Sprintf("%s %s by %s bfd %v", r.Router, r.Pod, r.Nexthop, r.BFD))
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			return fmt.Errorf("routes (-want +got), error %q:\n%s", st.Error, diff)
		}
		return nil
	})
}

func (w world) docs() []string {
	var out []string
	for _, text := range w {
		out = append(out, text)
	}
	return sorted(out)
}

// somewhere is a random world: two nodes, up to six pods, four gateways of all sources.
func somewhere(r *rand.Rand) world {
	w := world{"node-1.yaml": node}
	if r.IntN(3) > 0 {
		w["node-2.yaml"] = strings.NewReplacer("worker-1", "worker-2", "10.131.0.0/23", "10.131.2.0/23", "0:1::/64", "0:2::/64", ".100.11", ".100.12", "::11", "::12").Replace(node)
	}
	for i := range 6 {
		if r.IntN(3) == 0 {
			continue
		}
		ips := fmt.Sprintf(`"10.131.1.%d/23"`, 100+i)
		if i%2 == 0 {
			ips += fmt.Sprintf(`,"fd01:0:0:1::%d/64"`, 100+i)
		}
		w[fmt.Sprintf("app-%d.yaml", i)] = app(fmt.Sprintf("app-%d", i), ips, fmt.Sprintf("spec: {nodeName: worker-%d}\nstatus: {phase: Running}\n", 1+i%2))
	}
	for i := range 3 {
		g := tmm{name: fmt.Sprintf("tmm-%d", i), ips: fmt.Sprintf(`"10.144.100.%d","fd00::%d"`, 16+i, 16+i)}
		if r.IntN(4) == 0 {
			g.status = `{phase: Running, conditions: [{type: Ready, status: "False"}]}`
		}
		text := g.String()
		if r.IntN(2) == 0 {
			text = strings.Replace(text, "  annotations:\n", "  annotations:\n    k8s.ovn.org/bfd-enabled: ''\n", 1)
		}
		if r.IntN(3) > 0 {
			w[g.name+".yaml"] = text
		}
	}
	annotations := ""
	if r.IntN(2) == 0 {
		annotations = "k8s.ovn.org/routing-external-gws: '10.144.100.16,10.144.100.30'"
	}
	w["apps.yaml"] = apps(annotations)
	if r.IntN(2) == 0 {
		w["policy.yaml"] = policy("p", fmt.Sprintf("{static: [{ip: 10.144.100.17, bfdEnabled: %v}]}", r.IntN(2) == 0))
	}
	return w
}

// foreign are rows that an operator made beside those of the controller; none may be touched. Each
// differs from the controller's in one thing only.
func (b *bench) foreign() []string {
	b.t.Helper()
	route := func(name, columns string) string {
		return fmt.Sprintf(`{"op":"insert","table":"Logical_Router_Static_Route","uuid-name":%q,"row":{"ip_prefix":"10.131.1.100","nexthop":"10.144.100.16","policy":"src-ip","output_port":"rtoe-GR_worker-1",%s}}`, name, columns)
	}
	symmetric := `"options":["map",[["ecmp_symmetric_reply","true"]]]`
	b.transact(
		route("a", `"options":["map",[["ecmp_symmetric_reply","true"],["origin","operator"]]]`),
		route("b", symmetric+`,"external_ids":["map",[["owner","operator"]]]`),
		route("c", symmetric+`,"route_table":"rtb-1"`),
		route("d", `"external_ids":["map",[["plain","route"]]]`),
		`{"op":"insert","table":"Logical_Router_Static_Route","uuid-name":"e","row":{"ip_prefix":"10.131.1.0/24","nexthop":"10.144.100.16","policy":"src-ip","output_port":"rtoe-GR_worker-1",`+symmetric+`}}`,
		`{"op":"insert","table":"NAT","uuid-name":"n","row":{"type":"snat","external_ip":"10.144.100.11","logical_ip":"10.131.1.200","external_ids":["map",[["owner","operator"]]]}}`,
		`{"op":"insert","table":"BFD","row":{"logical_port":"rtoe-GR_worker-1","dst_ip":"10.144.100.99","min_tx":250}}`,
		`{"op":"insert","table":"Address_Set","row":{"name":"a123","addresses":"10.131.1.100"}}`,
		`{"op":"insert","table":"Logical_Router_Policy","uuid-name":"p","row":{"priority":501,"match":"ip4.src == $a123","action":"reroute","nexthops":"100.64.0.2"}}`,
		`{"op":"mutate","table":"Logical_Router","where":[["name","==","GR_worker-1"]],"mutations":[["static_routes","insert",["set",[["named-uuid","a"],["named-uuid","b"],["named-uuid","c"],["named-uuid","d"],["named-uuid","e"]]]],["nat","insert",["named-uuid","n"]]]}`,
		`{"op":"mutate","table":"Logical_Router","where":[["name","==","ovn_cluster_router"]],"mutations":[["policies","insert",["named-uuid","p"]]]}`,
	)
	var out []string
	for _, row := range b.rows() {
		for _, mark := range []string{"operator", "rtb-1", "plain:route", "10.131.1.0/24", "10.131.1.200", "100.99", "a123"} {
			if strings.Contains(row, mark) && !strings.HasPrefix(row, "router ") {
				out = append(out, row)
				break
			}
		}
	}
	if len(out) != 9 {
		b.t.Fatalf("%d foreign rows, want 9: %q", len(out), out)
	}
	return out
}

// TestForeignRowsStay changes the objects at random beside rows of somebody else.
func TestForeignRowsStay(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		b.opt.GatewayMode = exgw.GatewayLocal
		r := rand.New(rand.NewPCG(3, 3))
		now := somewhere(r)
		b.becomes(nil, now)
		b.start()
		b.expects(now)
		foreign := b.foreign()
		for range 8 {
			next := somewhere(r)
			b.becomes(now, next)
			b.expects(next)
			now = next
			left := b.rows()
			for _, row := range foreign {
				if !slices.Contains(left, row) {
					t.Fatalf("a row of somebody else has gone: %s", row)
				}
			}
		}
	})
}

// TestServersHoldTheSame goes through random worlds on both servers: after each the rows are equal, and
// equal to what a controller writes that sees this world first.
func TestServersHoldTheSame(t *testing.T) {
	for _, mode := range []string{exgw.GatewayShared, exgw.GatewayLocal} {
		t.Run(mode, func(t *testing.T) {
			one, other := newBenchOn(t, ours), newBenchOn(t, reference)
			one.opt.GatewayMode, other.opt.GatewayMode = mode, mode
			one.start()
			other.start()
			r := rand.New(rand.NewPCG(1, 2))
			var now world
			for range 12 {
				next := somewhere(r)
				for _, b := range []*bench{one, other} {
					b.becomes(now, next)
					b.expects(next)
				}
				now = next
				fresh := newBench(t)
				fresh.opt.GatewayMode = mode
				fresh.becomes(nil, now)
				fresh.start()
				fresh.expects(now)
				settled := fresh.rows()
				one.eventually(func() error { return same(settled, one.rows()) })
				other.eventually(func() error { return same(settled, other.rows()) })
				fresh.stop()
			}
		})
	}
}

func same(want, got []string) error {
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("rows (-want +got):\n%s", diff)
	}
	return nil
}

// TestSourcesOverlap: while one of two sources of a gateway comes or goes, its rows stay the same
// rows; so a migration from annotations to a policy loses no packet.
func TestSourcesOverlap(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		annotated := mustReplace(t, tmm{name: "tmm-1", ips: `"10.144.100.16"`}.String(), "  annotations:\n", "  labels: {gateway: 'yes'}\n  annotations:\n")
		chosen := hopper("tmm-1", "", `"10.144.100.16"`)
		byPolicy := policy("p", "{dynamic: ["+dynamic+"]}")
		base := world{"node.yaml": node, "app.yaml": app("app-1", both, running), "apps.yaml": apps(""), "tmm.yaml": annotated}
		with := func(change func(world)) world {
			w := world{}
			for k, v := range base {
				w[k] = v
			}
			change(w)
			return w
		}
		steps := []world{ // each changes one object: the controller may look between two files
			base,
			with(func(w world) { w["policy.yaml"] = byPolicy }),
			with(func(w world) { w["policy.yaml"], w["tmm.yaml"] = byPolicy, chosen }), // the annotation goes
			with(func(w world) {
				w["policy.yaml"], w["tmm.yaml"] = byPolicy, chosen
				w["apps.yaml"] = apps("k8s.ovn.org/routing-external-gws: '10.144.100.16'")
			}),
			with(func(w world) {
				w["tmm.yaml"], w["apps.yaml"] = chosen, apps("k8s.ovn.org/routing-external-gws: '10.144.100.16'")
			}), // the policy goes
			with(func(w world) { w["apps.yaml"] = apps("k8s.ovn.org/routing-external-gws: '10.144.100.16'") }), // the annotation is back
			base,
		}
		var old world
		var first map[string]string
		for i, w := range steps {
			b.becomes(old, w)
			old = w
			if i == 0 {
				b.start()
			}
			b.expects(w)
			b.read(w)
			if i == 0 {
				first = b.ids()
				if len(first) != 1 {
					t.Fatalf("routes %v, want one", first)
				}
			}
			if diff := cmp.Diff(first, b.ids()); diff != "" {
				t.Errorf("step %d: UUIDs (-first +now):\n%s", i, diff)
			}
		}
	})
}

// read waits until the controller has read the objects: an application that has no gateway tells.
func (b *bench) read(w world) {
	b.t.Helper()
	b.marks++
	name := fmt.Sprintf("mark-%d", b.marks)
	b.put("mark.yaml", strings.Replace(app(name, `"10.131.1.250/23"`, running), "namespace: apps", "namespace: marks", 1))
	b.eventually(func() error {
		if !strings.Contains(strings.Join(b.rows(), "\n"), "marks_"+name) {
			return fmt.Errorf("the controller has not read %s yet", name)
		}
		return nil
	})
	b.expects(w)
}
