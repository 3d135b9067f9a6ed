package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spklab/spklab/lab"
)

// whyVIP is the virtual address that is not reached.
const whyVIP = "192.0.2.10"

// whyTimeout bounds how long a fault, or its repair, takes to be seen.
const whyTimeout = 40 * time.Second

// obstacle keeps the lab's router from leading to whyVIP, and what explain has to name first.
type obstacle struct {
	name                           string
	put, remove                    func(w *whyLab)
	condition, object, field, says string
}

// whyLab is a running lab with FRR as its router.
type whyLab struct {
	broken
	l      *lab.Lab
	values string // as they were
	vlans  string
}

// change applies the lab's values, or its VLANs, with one text in place of another.
func (w *whyLab) change(document, from, to string) {
	w.t.Helper()
	if !strings.Contains(document, from) {
		w.t.Fatalf("no %q to replace", from)
	}
	w.apply(strings.ReplaceAll(document, from, to))
}

func changedValues(from, to string) func(*whyLab) {
	return func(w *whyLab) { w.change(w.values, from, to) }
}

func changedVLANs(from, to string) func(*whyLab) {
	return func(w *whyLab) { w.change(w.vlans, from, to) }
}

func oldValues(w *whyLab) { w.apply(w.values) }

func oldVLANs(w *whyLab) { w.apply(w.vlans) }

func upAgain(w *whyLab) { mustSpklab(w.t, "up", "spk", "--name", w.lab, "--router", "frr") }

// bgpdDies kills the router's BGP daemon, by which the router ends.
func bgpdDies(w *whyLab) {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(built.state, w.lab, "router", "upstream", "bgpd.pid"))
	w.must(err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	w.must(err)
	w.must(syscall.Kill(pid, syscall.SIGKILL))
}

// vtysh has the router's daemons obey commands.
func vtysh(commands ...string) func(*whyLab) {
	return func(w *whyLab) {
		w.t.Helper()
		argv := []string{"vtysh", "--vty_socket", filepath.Join(built.state, w.lab, "router", "upstream")}
		for _, c := range commands {
			argv = append(argv, "-c", c)
		}
		w.in("upstream", argv...)
	}
}

// ready sets whether the two endpoints are.
func ready(is bool) func(*whyLab) {
	return func(w *whyLab) {
		w.t.Helper()
		for _, pod := range []string{"app-1", "app-2"} {
			w.must(w.l.SetReady(w.t.Context(), "spk-apps", pod, is))
		}
	}
}

// service has the resource name a Service.
func service(name string) func(*whyLab) {
	return func(w *whyLab) {
		w.t.Helper()
		w.apply(strings.ReplaceAll(whyIngress, "NAME", name))
	}
}

const whyIngress = `apiVersion: ingresstcp.k8s.f5net.com/v1
kind: F5SPKIngressTCP
metadata: {name: web, namespace: spk-apps}
service: {name: NAME, port: 80}
spec:
  destinationAddress: 192.0.2.10
  ipv6destinationAddress: "2001:db8:2::10"
  destinationPort: 80
  idleTimeout: 300
  loadBalancingMethod: ROUND_ROBIN
  snat: SRC_TRANS_AUTOMAP
`

const (
	whyNeighbor = "            - ip: 198.51.100.1\n              asn: 65000\n"
	whyRouteMap = "            - ip: 198.51.100.1\n              routeMap: few\n              asn: 65000\n"
	whyFew      = "          routeMaps:\n            - {name: few, seq: 10, match: hidden, deny: true}\n            - {name: few, seq: 20}\n" +
		"          prefixList:\n            - {name: hidden, seq: 10, prefix: 192.0.2.10/32}\n"
)

// obstaclesOfObjects are those in the objects and values: failures 1, 3, 4, 5, 7 and 10 of the field.
func obstaclesOfObjects() []obstacle {
	return []obstacle{
		{"Service without endpoints", ready(false), ready(true), "endpoints", "EndpointSlices of spk-apps/web", "endpoints[].conditions.ready", "0 of 2 ready"},
		{"resource names another Service", service("wep"), service("web"), "Service", "F5SPKIngressTCP spk-apps/web", "service.name", "spk-apps/wep is missing"},
		{"fewer self-IPs than TMMs", changedVLANs("[198.51.100.16, 198.51.100.17, 198.51.100.18]", "[198.51.100.16]"), oldVLANs, "virtual server", "F5SPKVlan default/external", "NoSelfIP", "holds 1 addresses, and this is TMM number 2"},
		{"internal is missing", changedVLANs("internal: true", "internal: false"), oldVLANs, "serving", "F5SPKVlan", "NoInternalVLAN", "internal: true"},
		{"two untagged VLANs on one interface", changedVLANs(`"1.2"`, `"1.1"`), oldVLANs, "serving", "F5SPKVlan default/internal", "NotSupported", "interface 1.1 carries"},
		{"acceptsIPv4 is not set", changedValues("              acceptsIPv4: true\n", ""), oldValues, "family", "BGP neighbor 198.51.100.1", "acceptsIPv4", "false"},
		{"a route map hides the VIP", func(w *whyLab) {
			w.apply(strings.ReplaceAll(w.values, whyNeighbor, whyRouteMap) + whyFew)
		}, oldValues, "route map", "Helm values", "routeMap", "keeps 192.0.2.10/32 from"},
	}
}

// obstaclesOfSessions are those that keep sessions down, each with evidence from the ends' own words and
// counters.
func obstaclesOfSessions() []obstacle {
	blocked := func(w *whyLab) {
		w.in("upstream", "nft", "add table inet why; add chain inet why in { type filter hook input priority 0; }; add rule inet why in tcp dport 179 counter drop")
		vtysh("clear bgp *")(w)
	}
	open := func(w *whyLab) { w.in("upstream", "nft", "delete table inet why") }
	return []obstacle{
		{"wrong password", changedValues(whyNeighbor, whyNeighbor+"              password: sesame\n"), oldValues, "session", "BGP neighbor 198.51.100.1", "password", "TCPMD5Unexpected of upstream"},
		{"neighbor's ASN does not fit", changedValues(whyNeighbor, strings.Replace(whyNeighbor, "65000", "64999", 1)), oldValues, "session", "BGP neighbor 198.51.100.1", "asn", "asn is 64999 here, and router upstream is AS 65000"},
		{"own ASN does not fit", changedValues("asn: 65001", "asn: 65009"), oldValues, "session", "Helm values", "bgp.asn", "received 2/2"},
		{"port 179 is blocked", blocked, open, "session", "nftables of upstream", "table why chain in: TCP port 179", "dropped"},
		{"router's BGP daemon is dead", bgpdDies, upAgain, "session", "upstream", "TCP port 179", "refused"},
	}
}

// obstaclesOfTables are those in the router's tables, and a TMM that is gone: failures 7 and 11 of the field.
func obstaclesOfTables() []obstacle {
	family := []string{"configure terminal", "router bgp 65000", "address-family ipv4 unicast"}
	bgp := func(command string) func(*whyLab) { return vtysh(append(family[:3:3], command)...) }
	hide := vtysh("configure terminal", "ip prefix-list why deny 192.0.2.10/32", "ip prefix-list why permit any",
		"router bgp 65000", "address-family ipv4 unicast", "neighbor range0 prefix-list why in")
	keep := vtysh("configure terminal", "ip prefix-list kept seq 5 permit 192.0.2.10/32", "route-map kept deny 5", "match ip address prefix-list kept", "exit",
		"route-map kept permit 10", "exit", "ip protocol bgp route-map kept")
	return []obstacle{
		{"the router's filter hides the VIP", hide, bgp("no neighbor range0 prefix-list why in"), "accepted there", "upstream", "Loc-RIB", "refused by the import filter"},
		{"maximum-paths below the number of TMMs", bgp("maximum-paths 1"), bgp("maximum-paths 64"), "best there", "upstream", "Loc-RIB", "by 1 of 2 such paths: look at its maximum-paths"},
		{"the kernel is not given the route", keep, vtysh("configure terminal", "no ip protocol bgp route-map kept"), "forwarded", "upstream", "kernel routes", "no route by"},
		{"a TMM is dead", func(w *whyLab) { w.kill("f5-tmm-2") }, upAgain, "answers", "TMM f5-tmm-2", "process", "f5-tmm-2"},
	}
}

// TestExplainVIP puts one obstacle after the other on the way to a virtual address of a running lab, and
// wants explain to name object and field of each as the first cause, and none once it is removed.
func TestExplainVIP(t *testing.T) {
	needRoot(t)
	for _, tool := range []string{"ip", "nft", "vtysh"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatal(err)
		}
	}
	const name = "e2e-why"
	up(t, "spk", name, "--router", "frr")
	w := &whyLab{broken: broken{t: t, lab: name}, l: openLab(t, name), vlans: shippedText(t, "manifests/vlans.yaml")}
	w.values = strings.Replace(shippedText(t, "values.yaml"), "tmm:\n", "tmm:\n  damping: {max: 0s}\n", 1) // obstacles come in short order
	oldValues(w)
	w.until(obstacle{})
	right, all := 0, 0
	for _, list := range [][]obstacle{obstaclesOfObjects(), obstaclesOfSessions(), obstaclesOfTables()} {
		for _, o := range list {
			all++
			t.Run(o.name, func(t *testing.T) {
				w := *w
				w.t = t
				began := time.Now()
				o.put(&w)
				if w.until(o) {
					right++
				}
				named := time.Since(began)
				o.remove(&w)
				w.until(obstacle{})
				t.Logf("named after %s, gone after %s", named.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
			})
		}
	}
	t.Run("two places", func(t *testing.T) {
		w := *w
		w.t = t
		w.twoPlaces()
	})
	t.Run("command", func(t *testing.T) {
		w := *w
		w.t = t
		w.command()
	})
	t.Logf("explain names the true cause in %d of %d obstacles", right, all)
}

func shippedText(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../lab/topologies/spk", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// until waits until the first cause is the obstacle's, or without an obstacle there is none.
func (w *whyLab) until(o obstacle) bool {
	w.t.Helper()
	last := ""
	for deadline := time.Now().Add(whyTimeout); ; time.Sleep(50 * time.Millisecond) {
		e, err := w.l.ExplainVIP(w.t.Context(), netip.MustParseAddr(whyVIP))
		switch {
		case err != nil:
			last = err.Error()
		case len(e.Causes) == 0 && o.name == "":
			return true
		case len(e.Causes) == 0:
			last = "no cause"
		default:
			c := e.Causes[0]
			if c.Name == o.condition && c.Object == o.object && c.Field == o.field && strings.Contains(c.Text, o.says) {
				w.t.Logf("%s: %s, %s: %s", c.Name, c.Object, c.Field, c.Text)
				return true
			}
			last = c.Name + ": " + c.Object + ", " + c.Field + ": " + c.Text
		}
		if time.Now().After(deadline) {
			w.t.Errorf("after %s the first cause is %q, want %+v", whyTimeout, last, [...]string{o.condition, o.object, o.field, o.says})
			return false
		}
	}
}

// twoPlaces breaks endpoints and session at once: the words of the command name the endpoints first.
func (w *whyLab) twoPlaces() {
	w.t.Helper()
	ready(false)(w)
	changedValues(whyNeighbor, strings.Replace(whyNeighbor, "65000", "64999", 1))(w)
	for deadline := time.Now().Add(whyTimeout); ; time.Sleep(50 * time.Millisecond) {
		code, stdout := spklab(w.t, "explain", "vip", whyVIP, "--lab", w.lab)
		text := string(stdout)
		first, also, ok := strings.Cut(text, "✗ first endpoints: EndpointSlices of spk-apps/web")
		if ok && code == 1 && !strings.Contains(first, "✗ also") && strings.Contains(also, "✗ also session: BGP neighbor 198.51.100.1, asn: NOTIFICATION sent 2/2") {
			break
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("explain does not name endpoints first and session besides:\n%s", text)
		}
	}
	ready(true)(w)
	oldValues(w)
	w.until(obstacle{})
}

// command asks the command line for what holds, and for an address of nobody.
func (w *whyLab) command() {
	w.t.Helper()
	var e lab.VIPExplanation
	if err := json.Unmarshal(mustSpklab(w.t, "explain", "vip", whyVIP, "--lab", w.lab, "-o", "json"), &e); err != nil || !e.OK || len(e.Resources) != 1 {
		w.t.Errorf("%v; %+v", err, e)
	}
	if words := string(mustSpklab(w.t, "__complete", "explain", "vip", "--lab", w.lab, "")); !strings.Contains(words, "\n2001:db8:2::10\n") {
		w.t.Errorf("completion without 2001:db8:2::10:\n%s", words)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), whyTimeout)
	defer cancel()
	out, err := command(ctx, "explain", "vip", "192.0.2.200", "--lab", w.lab).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 5 || !strings.Contains(string(out), "there are 192.0.2.10, 192.0.2.11,") {
		w.t.Errorf("%v: %s", err, out)
	}
}
