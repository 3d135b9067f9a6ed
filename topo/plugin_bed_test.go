package topo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/cni"
	"github.com/spklab/spklab/topo"
)

// bed is a node with an interface to attach to, and a namespace for each pod that a test makes.
type bed struct {
	t     *testing.T
	r     *topo.Runtime
	node  string
	steps []topo.Step
	store cni.Reservations // ours
	data  string           // the plugin's
}

func newBed(t *testing.T, lab string) *bed {
	t.Helper()
	for _, name := range []string{"macvlan", "host-device", "host-local", "static"} {
		if _, err := os.Stat(filepath.Join(pluginDir, name)); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skipf("Debian's containernetworking-plugins are not installed: %v", err)
		}
	}
	r := open(t, lab)
	lock(t, r)
	b := &bed{t: t, r: r, node: r.Netns("node"), store: cni.Reservations{}, data: t.TempDir()}
	b.steps = b.namespace("node")
	b.steps = append(b.steps, b.namespace("peer")...)
	b.steps = append(b.steps, topo.Step{Veth: &topo.VethStep{
		A: topo.VethEnd{Netns: b.node, Name: masterLink, MAC: "02:00:00:00:01:00", MTU: parentMTU},
		B: topo.VethEnd{Netns: r.Netns("peer"), Name: "p0", MTU: parentMTU},
	}}, topo.Step{Addr: &topo.AddrStep{Netns: b.node, Link: masterLink, Prefix: netip.MustParsePrefix("192.0.2.1/24")}},
		topo.Step{Route: &topo.RouteStep{Netns: b.node, To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.0.2.254"), Link: masterLink}})
	b.converge()
	return b
}

// namespace is one in which IPv6 addresses are usable at once.
func (b *bed) namespace(name string) []topo.Step {
	ns := b.r.Netns(name)
	return []topo.Step{{Netns: &topo.NetnsStep{Name: ns}},
		{Sysctl: &topo.SysctlStep{Netns: ns, Key: "net.ipv6.conf.all.accept_dad", Value: "0"}},
		{Sysctl: &topo.SysctlStep{Netns: ns, Key: "net.ipv6.conf.default.accept_dad", Value: "0"}}}
}

func (b *bed) converge(more ...topo.Step) {
	b.t.Helper()
	if err := b.try(more...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) try(more ...topo.Step) error {
	return b.r.Converge(b.t.Context(), topo.NewPlan(append(slices.Clone(b.steps), more...)), nil)
}

// request is what a runtime asks a plugin for.
type request struct {
	conf      string
	pod       string
	inner     bool // the master stands in the pod
	mac       string
	ips       []netip.Prefix
	container string
}

// attach is what topo makes of a request.
func (b *bed) attach(q request) ([]topo.Step, topo.Attachment, error) {
	c, err := cni.Decode(q.conf)
	if err != nil {
		return nil, topo.Attachment{}, err
	}
	given, err := cni.Assign(c, b.store, cni.Owner{Container: q.container, Interface: "net1"}, q.ips)
	if err != nil {
		return nil, topo.Attachment{}, err
	}
	c.LinkInContainer = q.inner
	a := topo.Attachment{Config: c, Interface: "net1", MAC: c.HardwareAddr(q.mac), Assigned: given}
	return topo.Attach(b.node, b.r.Netns(q.pod), a), a, nil
}

// plugin runs Debian's plugin for a request and returns what it prints. Its version has no linkInContainer
// yet: run in the pod's namespace it does the same.
func (b *bed) plugin(command string, q request) ([]byte, error) {
	b.t.Helper()
	var conf map[string]any
	if err := json.Unmarshal([]byte(q.conf), &conf); err != nil {
		b.t.Fatal(err)
	}
	runtime := map[string]any{}
	if q.mac != "" {
		runtime["mac"] = q.mac
	}
	if len(q.ips) > 0 {
		runtime["ips"] = q.ips
	}
	conf["runtimeConfig"] = runtime
	if ipam, ok := conf["ipam"].(map[string]any); ok && ipam["type"] == cni.TypeHostLocal {
		ipam["dataDir"] = b.data
	}
	stdin, err := json.Marshal(conf)
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(pluginDir, fmt.Sprint(conf["type"])))
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	cmd.Env = []string{"CNI_COMMAND=" + command, "CNI_CONTAINERID=" + q.container, "CNI_IFNAME=net1", "CNI_PATH=" + pluginDir,
		"CNI_NETNS=/run/netns/" + b.r.Netns(q.pod)}
	from := b.node
	if q.inner {
		from = b.r.Netns(q.pod)
	}
	if err := topo.Start(from, cmd); err != nil {
		b.t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("%w: %s%s", err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.Bytes(), nil
}

// ours makes what topo makes of a request and returns its result as it would be printed.
func (b *bed) ours(q request) ([]byte, error) {
	steps, a, err := b.attach(q)
	if err != nil {
		return nil, err
	}
	if err := b.try(steps...); err != nil {
		return nil, err
	}
	result, err := topo.Result(b.r.Netns(q.pod), a)
	if err != nil {
		return nil, err
	}
	return result.Encode(a.Config.CNIVersion)
}

// attributes is everything that the kernel tells, by name.
type attributes map[string]string

// look reads a namespace's interface, and what the attachment may have changed elsewhere. It waits until the
// kernel has noticed that the interface is up.
func (b *bed) look(q request) attributes {
	b.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		out := b.lookOnce(q)
		if out.settled() || out["link ifname"] == "" || time.Now().After(deadline) {
			return out
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// settled says whether the interface is up, and each of its IPv6 addresses has its route in the table local,
// which comes last.
func (a attributes) settled() bool {
	addresses, routes := 0, 0
	for k, v := range a {
		switch {
		case strings.HasSuffix(k, "tentative"):
			return false
		case strings.HasPrefix(k, "addr ") && strings.HasSuffix(k, " family") && v == "inet6":
			addresses++
		case strings.HasPrefix(k, "route ") && strings.HasSuffix(k, " type") && v == "local":
			if strings.Contains(a[strings.TrimSuffix(k, "type")+"dst"], ":") {
				routes++
			}
		}
	}
	return a["link operstate"] == "UP" && addresses > 0 && routes >= addresses
}

func (b *bed) lookOnce(q request) attributes {
	out := attributes{}
	pod, host := b.r.Netns(q.pod), b.node
	if q.inner {
		host = pod
	}
	out.flatten("link", ip(pod, "-d", "link", "show", "net1"))
	out.flatten("master", ip(host, "-d", "link", "show", masterLink))
	out.flatten("addr", ip(pod, "addr", "show", "dev", "net1"))
	out.flatten("route", ip(pod, "route", "show", "table", "all", "dev", "net1"))
	if out["link ifname"] != "" {
		out.sysctls(b.t, pod)
	}
	mac := out["link address"]
	for k, v := range out {
		out[k] = anonymous(v, mac, q)
	}
	return out
}

// anonymous takes out of a value what two attachments cannot share: the kernel's choice of a MAC and what
// follows from it, indexes, names of namespaces.
func anonymous(v, mac string, q request) string {
	if hw, err := net.ParseMAC(mac); err == nil {
		local := netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: hw[0] ^ 2, 9: hw[1], 10: hw[2], 11: 0xff, 12: 0xfe, 13: hw[3], 14: hw[4], 15: hw[5]})
		v = strings.ReplaceAll(v, local.String(), "fe80::MAC")
		if q.mac == "" && !strings.Contains(q.conf, mac) && mac != "02:00:00:00:01:00" {
			v = strings.ReplaceAll(v, mac, "MAC")
		}
	}
	return strings.ReplaceAll(v, "-"+q.pod+`"`, `-POD"`)
}

func ip(netns string, args ...string) []byte {
	cmd := exec.Command("ip", append([]string{"-n", netns, "-j"}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		return nil
	}
	return out
}

// flatten notes each value of a JSON document under its path.
func (a attributes) flatten(name string, doc []byte) {
	var v any
	if json.Unmarshal(doc, &v) == nil {
		a.walk(name, v)
	}
}

func (a attributes) walk(name string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, item := range v {
			if k != "ifindex" && k != "link_index" && k != "link_netnsid" || name == "link" && k == "link_index" {
				a.walk(name+" "+k, item)
			}
		}
	case []any:
		for i, item := range v {
			at := name
			if len(v) > 1 {
				at = fmt.Sprint(name, " ", i)
			}
			a.walk(at, item)
		}
	default:
		a[name] = fmt.Sprint(v)
	}
}

// sysctls are those of net1, in both families.
func (a attributes) sysctls(t *testing.T, netns string) {
	t.Helper()
	err := topo.Do(netns, func() error {
		for _, family := range []string{"ipv4", "ipv6"} {
			files, err := filepath.Glob("/proc/sys/net/" + family + "/conf/net1/*")
			if err != nil || len(files) == 0 {
				return fmt.Errorf("list sysctls of net1: %w", err)
			}
			for _, f := range files {
				if value, err := os.ReadFile(f); err == nil {
					a["sysctl "+family+" "+filepath.Base(f)] = strings.TrimSpace(string(value))
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// tally counts what was compared.
type tally struct{ equal, compared int }

func (n *tally) compare(t *testing.T, what string, want, got attributes) {
	t.Helper()
	keys := map[string]bool{}
	for k := range want {
		keys[k] = true
	}
	for k := range got {
		keys[k] = true
	}
	for k := range keys {
		n.one(t, what+" "+k, want[k], got[k])
	}
}

func (n *tally) one(t *testing.T, what, want, got string) {
	t.Helper()
	n.compared++
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-plugin +ours):\n%s", what, diff)
		return
	}
	n.equal++
}

// side adds and removes on one side, and tells what is there at each moment.
type side struct {
	result     []byte
	err        error
	made, gone attributes
}

func (b *bed) pluginSide(q request) side {
	b.converge(b.namespaces(q)...)
	var s side
	s.result, s.err = b.plugin("ADD", q)
	if s.err == nil {
		s.made = b.look(q)
	}
	if _, err := b.plugin("DEL", q); err != nil && s.err == nil {
		b.t.Errorf("the plugin's DEL: %v", err)
	}
	s.gone = b.lookOnce(q)
	b.converge()
	return s
}

func (b *bed) ourSide(q request) side {
	base := b.namespaces(q)
	b.converge(base...)
	steps := b.steps
	b.steps = append(slices.Clone(b.steps), base...)
	var s side
	s.result, s.err = b.ours(q)
	if s.err == nil {
		s.made = b.look(q)
	}
	b.converge()
	b.store.Release(cni.Owner{Container: q.container, Interface: "net1"})
	s.gone = b.lookOnce(q)
	b.steps = steps
	b.converge()
	return s
}

// namespaces are the pod's, with a master in it where the request wants one.
func (b *bed) namespaces(q request) []topo.Step {
	steps := b.namespace(q.pod)
	if q.inner {
		steps = append(steps, topo.Step{Veth: &topo.VethStep{
			A: topo.VethEnd{Netns: b.r.Netns(q.pod), Name: masterLink, MAC: "02:00:00:00:01:00", MTU: parentMTU},
			B: topo.VethEnd{Netns: b.r.Netns("peer"), Name: "inner", MTU: parentMTU},
		}})
	}
	return steps
}

// sides runs one request on both sides and compares all they come to.
func (n *tally) sides(t *testing.T, b *bed, q request) {
	t.Helper()
	b.t = t
	theirs, mine := q, q
	theirs.pod, mine.pod = "a", "b"
	want, got := b.pluginSide(theirs), b.ourSide(mine)
	if want.err != nil || got.err != nil {
		t.Fatalf("plugin: %v; ours: %v", want.err, got.err)
	}
	n.compare(t, "made:", want.made, got.made)
	n.compare(t, "gone:", want.gone, got.gone)
	n.one(t, "result", plain(want.result, theirs), plain(got.result, mine))
	n.one(t, "reservations", fmt.Sprint(reserved(t, b.data)), fmt.Sprint(b.store))
}

// plain is a result without what two attachments cannot share.
func plain(result []byte, q request) string {
	var r struct{ Interfaces []cni.Interface }
	_ = json.Unmarshal(result, &r) // before 0.3.0 a result has no interfaces
	mac := ""
	if len(r.Interfaces) > 0 {
		mac = r.Interfaces[0].MAC
	}
	return anonymous(string(bytes.TrimSpace(result)), mac, q)
}

// reserved are the files that the plugin keeps of a network.
func reserved(t *testing.T, dir string) cni.Reservations {
	t.Helper()
	out, err := cni.ReadReservations(filepath.Join(dir, "n"))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func config(kind string, fields ...string) string {
	return fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "n", "type": %q%s}`, kind, strings.Join(append([]string{""}, fields...), ", "))
}

// reset makes the node and its interface anew.
func (b *bed) reset(ctx context.Context) {
	if err := b.r.Converge(ctx, topo.Plan{}, nil); err != nil {
		b.t.Error(err)
	}
	if err := b.r.Converge(ctx, topo.NewPlan(b.steps), nil); err != nil {
		b.t.Error(err)
	}
}
