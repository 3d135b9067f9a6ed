package lab_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/roottest"
)

// chains are the ends of all chains of app-1: the route, or the condition that fails.
func (l *live) chains() []string {
	l.t.Helper()
	e, err := l.Explain(l.t.Context(), "spk-apps", "app-1")
	l.must(err)
	var out []string
	for _, g := range e.Gateways {
		last := g.Conditions[len(g.Conditions)-1]
		if !last.OK {
			out = append(out, fmt.Sprintf("%s: %s fails at %s %s", g.Source, last.Name, last.Object, last.Field))
		}
		for _, w := range g.Ways {
			end := w.Conditions[len(w.Conditions)-1]
			text := fmt.Sprintf("%s: %s by %s: %s", g.Source, w.Address, g.Address, end.Name)
			if !end.OK {
				text += " fails"
			}
			out = append(out, text)
		}
	}
	return out
}

// TestExplain follows a pod's routes in a running lab, from the annotation through the TMM.
func TestExplain(t *testing.T) {
	roottest.Need(t)
	l := up(t, "spk", "explain")
	ctx := t.Context()
	way := func(n int) []string {
		return []string{
			fmt.Sprintf("annotation: 10.131.1.100 by 10.144.100.%d: onward route", 15+n),
			fmt.Sprintf("annotation: fd01:0:0:1::100 by fd00:10:144:100::%d: onward route", 15+n),
		}
	}
	same := func(want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, l.chains()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	same(append(way(1), way(2)...)...)

	l.egressBreaks(append(way(1), way(2)...))
	l.must(l.SetReady(ctx, "default", "f5-tmm-2", false))
	l.settle()
	same(append(way(1), "annotation: gateway pod is ready fails at Pod default/f5-tmm-2 status.conditions[Ready]")...)
	l.must(l.SetReady(ctx, "default", "f5-tmm-2", true))
	l.settle()

	objs, err := api.Split("policy.yaml", []byte(`
apiVersion: k8s.ovn.org/v1
kind: AdminPolicyBasedExternalRoute
metadata: {name: egress}
spec:
  from: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: spk-apps}}}
  nextHops:
    dynamic:
    - {podSelector: {matchLabels: {app: f5-tmm}}, namespaceSelector: {}, networkAttachmentName: default/macvlan-internal}
    static: [{ip: 10.144.100.99, bfdEnabled: true}]
`))
	l.must(err)
	if _, err := l.Apply(ctx, objs); err != nil {
		t.Fatal(err)
	}
	l.settle()
	if got := l.chains(); !slices.Contains(got, "policy: 10.131.1.100 by 10.144.100.99: BFD session is up fails") || len(got) != 9 {
		t.Errorf("chains %q, want 9, one of them without BFD", got)
	}
	look, err := l.OVN(ctx)
	l.must(err)
	var sources []string
	for _, r := range look.Routes {
		if r.Pod == "spk-apps/app-1" && r.Address.Is4() {
			sources = append(sources, fmt.Sprintf("%s %s by %v", r.Nexthop, r.Gateway, r.Sources))
		}
	}
	if diff := cmp.Diff([]string{
		"10.144.100.16 default/f5-tmm-1 by [annotation policy egress]",
		"10.144.100.17 default/f5-tmm-2 by [annotation policy egress]",
		"10.144.100.99  by [policy egress]",
	}, sources); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
	if len(look.Sessions) != 1 || look.Sessions[0].Peer != "10.144.100.99" || look.Sessions[0].Routes != 2 {
		t.Errorf("BFD sessions %+v", look.Sessions)
	}
	l.hasStatus("egress")

	l.must(l.Delete(ctx, "apbexternalroute", "", "egress", 0))
	l.settle()
	same(append(way(1), way(2)...)...)
}

// egressBreaks takes away what the TMMs need behind the datapath, and wants it named.
func (l *live) egressBreaks(ways []string) {
	l.t.Helper()
	ctx := l.t.Context()
	changed := func(from, to string) []string {
		out := slices.Clone(ways)
		for i, w := range out {
			if strings.Contains(w, from) {
				out[i] = w[:strings.LastIndex(w, ": ")] + ": " + to + " fails"
			}
		}
		return out
	}
	for _, b := range []struct {
		kind, name, file string
		want             []string
	}{
		{api.KindEgress, "egress", "egress.yaml", changed("annotation", "egress")},
		{api.KindStaticRoute, "default-v6", "routes.yaml", changed("by fd00", "onward route")},
	} {
		text, err := os.ReadFile("topologies/spk/manifests/" + b.file)
		l.must(err)
		objs, err := api.Split(b.file, text)
		l.must(err)
		l.must(l.Delete(ctx, b.kind, "default", b.name, 0))
		l.chainsBecome(b.want)
		_, err = l.Apply(ctx, objs)
		l.must(err)
		l.chainsBecome(ways)
	}
}

// chainsBecome waits until the chains of app-1 end so.
func (l *live) chainsBecome(want []string) {
	l.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		got := l.chains()
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("chains (-want +got):\n%s", cmp.Diff(want, got))
		}
	}
}

// hasStatus asks that a policy is shown with what its controller says.
func (l *live) hasStatus(policy string) {
	l.t.Helper()
	objs, err := l.Get("apbexternalroutes", "", policy)
	if err != nil || len(objs) != 1 {
		l.t.Fatalf("%v, %v", objs, err)
	}
	o, err := l.WithStatus(l.t.Context(), objs[0])
	if want := "status: Success"; err != nil || !strings.Contains(string(o.Raw), want) {
		l.t.Errorf("%v; no %q in\n%s", err, want, o.Raw)
	}
}

// TestConnsByGateway counts a worker's connections by the TMM that they came by.
func TestConnsByGateway(t *testing.T) {
	roottest.Need(t)
	l := up(t, "spk", "conns")
	cmd, err := l.Exec(t.Context(), "client", []string{"bash", "-c", "for i in 1 2 3; do head -1 </dev/tcp/192.0.2.10/80; done"})
	l.must(err)
	if code, err := cmd.Run(); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v", code, err)
	}
	look, err := l.OVN(t.Context())
	l.must(err)
	sum := 0
	for _, c := range look.Conntrack {
		if !strings.HasPrefix(c.Gateway, "default/f5-tmm-") || c.Node != "worker-1" {
			t.Errorf("connections of nobody: %+v", c)
		}
		sum += c.TCP
	}
	if sum != 3 {
		t.Errorf("%d connections, want 3: %+v", sum, look.Conntrack)
	}
	if _, err := l.Explain(t.Context(), "spk-apps", "nobody"); err == nil {
		t.Error("a pod that does not exist is explained")
	}
}
