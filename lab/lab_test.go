package lab_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/topo"
)

// binEnv holds the directory for the programs that the tests run.
const binEnv = "SPKLAB_TEST_BIN"

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "spklab-test-")
	if err == nil {
		err = os.Setenv(binEnv, dir)
	}
	if err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// options gives the test the programs, built once, and a place of its own for labs.
func options(t *testing.T) lab.Options {
	t.Helper()
	bin := os.Getenv(binEnv)
	if _, err := os.Stat(filepath.Join(bin, "spkproxy")); err != nil {
		out, err := exec.Command("go", "build", "-o", bin+"/", "../cmd/spklab", "../cmd/spkproxy").CombinedOutput()
		if err != nil {
			t.Fatalf("build: %v\n%s", err, out)
		}
	}
	dir, err := os.MkdirTemp("/run", "spklab-test-") // short: socket paths have 108 characters
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return lab.Options{Host: topo.Host{Run: filepath.Join(dir, "labs")}, Bin: bin}
}

// live is a lab that a test works on.
type live struct {
	*lab.Lab
	t    *testing.T
	opt  lab.Options
	name string
}

// up brings a shipped topology up under a name, and has the test take it down and look for
// leftovers in the end.
func up(t *testing.T, topology, name string) *live {
	t.Helper()
	l := &live{t: t, opt: options(t), name: name}
	t.Cleanup(func() {
		if err := lab.Down(context.WithoutCancel(t.Context()), name, l.opt); err != nil {
			t.Errorf("down: %v", err)
		}
		for _, glob := range []string{"/run/netns/spk-" + name + "-*", l.opt.Host.Run + "/*", "/sys/fs/bpf/spklab/" + name} {
			if left, _ := filepath.Glob(glob); len(left) > 0 {
				t.Errorf("down leaves %v", left)
			}
		}
	})
	l.again(topology)
	return l
}

// again is another up.
func (l *live) again(topology string) {
	l.t.Helper()
	src, err := lab.Load(l.t.TempDir(), topology)
	if err != nil {
		l.t.Fatal(err)
	}
	src.Spec.Name = l.name
	running, findings, err := lab.Up(l.t.Context(), src, l.opt)
	if err != nil || len(findings) > 0 {
		l.t.Fatalf("up: %v, findings %v", err, findings)
	}
	l.Lab = running
	l.lacksNothing()
}

func (l *live) lacksNothing() {
	l.t.Helper()
	if lacks, err := l.Missing(l.t.Context()); err != nil || len(lacks) > 0 {
		l.t.Errorf("lacks %v, %v", lacks, err)
	}
}

// settle waits until the lab lacks nothing.
func (l *live) settle() {
	l.t.Helper()
	l.await("nothing is lacking", func(lacks []string) bool { return len(lacks) == 0 })
}

// await waits until what the lab lacks is as is says.
func (l *live) await(what string, is func(lacks []string) bool) {
	l.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		lacks, err := l.Missing(l.t.Context())
		if err == nil && is(lacks) {
			return
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("until %s: lacks %v, %v", what, lacks, err)
		}
	}
}

// pids are the lab's processes.
func (l *live) pids() map[string][]int {
	l.t.Helper()
	nodes, err := l.Nodes()
	if err != nil {
		l.t.Fatal(err)
	}
	out := map[string][]int{}
	for _, n := range nodes {
		for _, p := range n.Processes {
			out[p.Name] = p.PIDs
		}
	}
	return out
}

// learned are the next hops of a prefix in the router upstream.
func (l *live) learned(prefix string) string {
	l.t.Helper()
	in, err := l.Inspect(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	var hops []string
	for _, r := range in.Routers {
		for _, rt := range r.Routes {
			if rt.Prefix.String() == prefix {
				for _, h := range rt.NextHops {
					hops = append(hops, h.String())
				}
			}
		}
	}
	return strings.Join(hops, " ")
}

// must ends the test with what failed.
func (l *live) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

const (
	vip   = "192.0.2.10/32"
	hop1  = "198.51.100.16"
	hop12 = hop1 + " 198.51.100.17"
)

// TestLifeOfALab goes through everything that can be done to a lab.
func TestLifeOfALab(t *testing.T) {
	roottest.Need(t)
	l := up(t, "spk", "life")
	ctx := t.Context()
	first := l.pids()
	if got := l.learned(vip); got != hop12 {
		t.Errorf("up: next hops of %s: %q, want %q", vip, got, hop12)
	}

	t.Run("up again changes nothing", func(t *testing.T) {
		l.t = t
		l.again("spk")
		if diff := cmp.Diff(first, l.pids()); diff != "" {
			t.Errorf("processes (-before +after):\n%s", diff)
		}
	})
	t.Run("up again heals", func(t *testing.T) {
		l.t = t
		l.must(l.Runtime().Kill(ctx, "f5-tmm-2"))
		l.again("spk")
		now := l.pids()
		if len(now["f5-tmm-2"]) != 1 || now["f5-tmm-2"][0] == first["f5-tmm-2"][0] {
			t.Errorf("f5-tmm-2 was not started again: %v", now["f5-tmm-2"])
		}
		now["f5-tmm-2"] = first["f5-tmm-2"]
		if diff := cmp.Diff(first, now); diff != "" {
			t.Errorf("other processes (-before +after):\n%s", diff)
		}
	})
	t.Run("up again brings interfaces back", func(t *testing.T) {
		l.t = t
		before := l.pids()
		for _, at := range [][2]string{{"f5-tmm-1", "net2"}, {"f5-tmm-2", "net1"}, {"f5-tmm-2", "eth0"}} {
			l.must(exec.CommandContext(ctx, "ip", "-n", "spk-life-"+at[0], "link", "del", at[1]).Run())
		}
		l.await("both TMMs lack an interface", func(lacks []string) bool {
			text := strings.Join(lacks, "\n")
			return strings.Contains(text, "interface 1.2 (default/macvlan-external) of default/f5-tmm-1") &&
				strings.Contains(text, "interface 1.1 (default/macvlan-internal) of default/f5-tmm-2")
		})
		l.again("spk")
		if diff := cmp.Diff(before, l.pids()); diff != "" {
			t.Errorf("processes (-before +after):\n%s", diff)
		}
		if got := l.learned(vip); got != hop12 {
			t.Errorf("next hops of %s: %q, want %q", vip, got, hop12)
		}
	})
	t.Run("scale", func(t *testing.T) {
		l.t = t
		for _, tc := range []struct {
			replicas int
			hops     string
		}{{3, hop12 + " 198.51.100.18"}, {1, hop1}, {0, ""}, {2, hop12}} {
			if _, err := l.Scale(ctx, "tmm", tc.replicas); err != nil {
				t.Fatal(err)
			}
			l.lacksNothing()
			if got := l.learned(vip); got != tc.hops {
				t.Errorf("%d TMMs: next hops %q, want %q", tc.replicas, got, tc.hops)
			}
		}
		findings, err := l.Scale(ctx, "tmm", 4)
		if err != nil || len(findings) == 0 || !strings.Contains(findings[0].Message, "TMM 4 gets none") {
			t.Errorf("a TMM without a self-IP: findings %v, %v", findings, err)
		}
		_, err = l.Scale(ctx, "tmm", 2)
		l.must(err)
	})
	t.Run("readiness", func(t *testing.T) {
		l.t = t
		for _, ready := range []bool{false, true} {
			for _, app := range []string{"app-1", "app-2"} {
				l.must(l.SetReady(ctx, "spk-apps", app, ready))
			}
			l.settle()
			if got := l.learned(vip); (got == hop12) != ready {
				t.Errorf("applications ready %v: next hops %q", ready, got)
			}
		}
	})
	t.Run("delete and bring back", func(t *testing.T) {
		l.t = t
		for name, grace := range map[string]int64{"app-1": -1, "app-2": 0} {
			l.must(l.Delete(ctx, "pod", "spk-apps", name, grace))
			if _, err := os.Stat("/run/netns/spk-life-" + name); err == nil {
				t.Errorf("the namespace of %s is still there", name)
			}
		}
		l.settle()
		if got := l.learned(vip); got != "" {
			t.Errorf("no endpoint is left: next hops %q", got)
		}
		l.again("spk")
		if got := l.learned(vip); got != hop12 {
			t.Errorf("endpoints are back: next hops %q", got)
		}
	})
	t.Run("delete what is not there", func(t *testing.T) {
		if err := l.Delete(ctx, "pod", "spk-apps", "nobody", -1); !errors.Is(err, lab.ErrNotFound) {
			t.Errorf("error %v, want not found", err)
		}
		if err := l.Delete(ctx, "node", "", "worker-1", -1); !errors.As(err, new(*api.InputError)) {
			t.Errorf("error %v, want bad input", err)
		}
	})
	t.Run("exec", func(t *testing.T) {
		cmd, err := l.Exec(ctx, "app-1", []string{"ip", "-br", "-4", "addr", "show", "eth0"})
		l.must(err)
		var out strings.Builder
		cmd.Stdout = &out
		if code, err := cmd.Run(); err != nil || code != 0 || !strings.Contains(out.String(), "10.131.1.100/23") {
			t.Errorf("exit code %d, %v, output %q", code, err, &out)
		}
	})
	t.Run("delete a namespace with a short grace", func(t *testing.T) {
		l.t = t
		l.must(l.Delete(ctx, "ns", "", "spk-apps", 1))
		l.settle()
		for _, kind := range []string{"pod", "svc", "intcp", "endpointslices", "ns"} {
			left, err := l.Get(kind, "", "")
			l.must(err)
			for _, o := range left {
				if o.Namespace == "spk-apps" || o.Name == "spk-apps" {
					t.Errorf("left: %s", o)
				}
			}
		}
	})
}

// TestChangeAPod: applying a changed pod starts its process anew with the change.
func TestChangeAPod(t *testing.T) {
	roottest.Need(t)
	l := up(t, "flannel", "changepod")
	objs, err := api.Split("change.yaml", []byte(`
apiVersion: v1
kind: Pod
metadata: {name: app-1, labels: {app: web}}
spec:
  containers: [{name: app, image: spklab/app, ports: [{containerPort: 9999}]}]
`))
	l.must(err)
	before := l.pids()
	if _, err := l.Apply(t.Context(), objs); err != nil {
		t.Fatal(err)
	}
	after := l.pids()
	if before["app-1"][0] == after["app-1"][0] || before["app-2"][0] != after["app-2"][0] {
		t.Errorf("processes before %v, after %v: want app-1 alone started anew", before, after)
	}
	cmd, err := l.Exec(t.Context(), "app-2", []string{"bash", "-c", "exec 3<>/dev/tcp/10.1.15.3/9999 && head -n 1 <&3"})
	l.must(err)
	var out strings.Builder
	cmd.Stdout = &out
	if code, err := cmd.Run(); err != nil || code != 0 || !strings.Contains(out.String(), "app-1") {
		t.Errorf("the new port: exit code %d, %v, %q", code, err, &out)
	}
}

// TestApply: what is kept, and what is refused before anything changes.
func TestApply(t *testing.T) {
	roottest.Need(t)
	l := up(t, "flannel", "applying")
	before := l.pids()
	for _, tc := range []struct{ name, manifest, want string }{
		{"unknown kind", "apiVersion: x/v1\nkind: F5SPKTeleporter\nmetadata: {name: beam}\n", ""},
		{"slice of a Service without selector", "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: mine}\naddressType: IPv4\nendpoints: []\n", ""},
		{"pod called as a node", "apiVersion: v1\nkind: Pod\nmetadata: {name: node-1}\nspec: {containers: []}\n", "a node of the lab has this name too"},
		{"pod called as another", "apiVersion: v1\nkind: Pod\nmetadata: {name: app-1, namespace: other}\nspec: {containers: []}\n", "pod default/app-1 has this name too"},
		{"node", "apiVersion: v1\nkind: Node\nmetadata: {name: node-3}\n", "the lab file makes the nodes"},
		{"master that does not exist", "apiVersion: k8s.cni.cncf.io/v1\nkind: NetworkAttachmentDefinition\nmetadata: {name: n}\nspec: {config: '{\"type\":\"macvlan\",\"master\":\"ens1\"}'}\n", "master is no NIC of node-1; it has eth0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			objs, err := api.Split("apply.yaml", []byte(tc.manifest))
			if err != nil {
				t.Fatal(err)
			}
			_, err = l.Apply(t.Context(), objs)
			kept, getErr := l.Get(objs[0].Kind, objs[0].Namespace, objs[0].Name)
			switch {
			case tc.want == "" && (err != nil || getErr != nil || len(kept) != 1):
				t.Errorf("%v; kept %v, %v", err, kept, getErr)
			case tc.want != "" && (!errors.As(err, new(*api.InputError)) || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("error %v, want bad input with %q", err, tc.want)
			case tc.want != "" && len(kept) > 0:
				t.Errorf("kept %v", kept)
			}
		})
	}
	if diff := cmp.Diff(before, l.pids()); diff != "" {
		t.Errorf("processes (-before +after):\n%s", diff)
	}
}

// TestFirstUpThatFails leaves nothing behind, and says why.
func TestFirstUpThatFails(t *testing.T) {
	roottest.Need(t)
	opt := options(t)
	bin := t.TempDir()
	if err := os.Symlink(filepath.Join(opt.Bin, "spklab"), filepath.Join(bin, "spklab")); err != nil {
		t.Fatal(err)
	}
	opt.Bin = bin
	if err := os.WriteFile(filepath.Join(opt.Bin, "spkproxy"), []byte("#!/bin/sh\necho out of hugepages >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	src, err := lab.Load(t.TempDir(), "spk")
	if err != nil {
		t.Fatal(err)
	}
	src.Spec.Name = "failing"
	t.Cleanup(func() {
		if err := lab.Down(context.WithoutCancel(t.Context()), "failing", opt); err != nil {
			t.Errorf("down: %v", err)
		}
	})
	_, _, err = lab.Up(t.Context(), src, opt)
	if err == nil || !strings.Contains(err.Error(), "out of hugepages") {
		t.Errorf("error %v, want the words of the process", err)
	}
	for _, glob := range []string{"/run/netns/spk-failing-*", opt.Host.Run + "/*"} {
		if left, _ := filepath.Glob(glob); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
}
