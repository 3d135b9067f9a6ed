package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/roottest"
)

// whyVIP is the virtual address that is not reached.
const whyVIP = "192.0.2.10"

// whyTimeout bounds how long a fault, or its repair, takes to be seen.
const whyTimeout = 40 * time.Second

// whyDamping is off: obstacles come in short order.
const whyDamping = "{max: 0s}"

// whyVIP6 is the other address of its resource.
const whyVIP6 = "2001:db8:2::10"

// whyEcho is one of UDP.
const whyEcho = "192.0.2.12"

// obstacle keeps the lab's router from leading to a virtual address, and what explain has to name first.
type obstacle struct {
	name                           string
	put, remove                    func(w *whyLab)
	condition, object, field, says string
	six                            bool // it stands in the way of whyVIP6 alone, and not of whyVIP
	udp                            bool // it stands in the way of whyEcho
}

// whyLab is a running lab.
type whyLab struct {
	broken
	l      *lab.Lab
	router whyRouter
	values string // as they were
	vlans  string
	conf   string // of the router
}

// TestExplainVIP puts one obstacle after the other on the way to a virtual address of a running lab, and
// wants explain to name object and field of each as the first cause, and none once it is removed. Each
// kind of router has a lab, side by side.
func TestExplainVIP(t *testing.T) {
	roottest.Need(t)
	for _, tool := range []string{"ip", "nft", "vtysh", "birdc"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatal(err)
		}
	}
	t.Parallel()
	for _, r := range whyRouters() {
		t.Run(r.kind, func(t *testing.T) {
			t.Parallel()
			explainObstacles(t, r)
		})
	}
}

func explainObstacles(t *testing.T, r whyRouter) {
	w := newWhyLab(t, r)
	right, all := 0, 0
	for _, list := range [][]obstacle{obstaclesOfValues(), obstaclesOfSessions(), r.tables, obstaclesOfProcesses(), r.more} {
		for _, o := range list {
			all++
			t.Run(o.name, func(t *testing.T) {
				w := *w
				w.t = t
				if w.meets(o) {
					right++
				}
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
	t.Logf("over %s explain names the true cause in %d of %d obstacles", r.kind, right, all)
}

// newWhyLab brings up a lab in which nothing stands in the way.
func newWhyLab(t *testing.T, r whyRouter) *whyLab {
	t.Helper()
	name := "e2e-why-" + r.kind[:3]
	up(t, "spk", name, "--router", r.kind)
	w := &whyLab{broken: broken{t: t, lab: name}, l: openLab(t, name), router: r, vlans: shippedText(t, "manifests/vlans.yaml")}
	w.values = strings.Replace(shippedText(t, "values.yaml"), "tmm:\n", "tmm:\n  damping: "+whyDamping+"\n", 1)
	if r.conf != "" {
		text, err := os.ReadFile(filepath.Join(built.state, name, r.conf))
		w.must(err)
		w.conf = string(text)
	}
	oldValues(w)
	w.until(obstacle{})
	return w
}

// tell logs what the lab says of its sessions.
func (w *whyLab) tell() {
	w.t.Helper()
	for _, words := range [][]string{{"explain", "vip", "192.0.2.10"}, {"inspect", "bgp"}, {"events"}} {
		_, out := spklab(w.t, append(words, "--lab", w.lab)...)
		const most = 12 << 10
		w.t.Logf("spklab %s:\n%s", strings.Join(words, " "), out[max(0, len(out)-most):])
	}
}

// meets puts an obstacle in the way, waits until it is named, and removes it.
func (w *whyLab) meets(o obstacle) bool {
	w.t.Helper()
	began := time.Now()
	o.put(w)
	ok := w.until(o)
	named := time.Since(began)
	o.remove(w)
	w.until(obstacle{six: o.six, udp: o.udp})
	w.t.Logf("named after %s, gone after %s", named.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	return ok
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
		c, err := w.first(o.addr())
		switch {
		case err != nil:
			last = err.Error()
		case o.name == "" && c.Name == "":
			return true
		case o.name != "" && o.is(c):
			w.t.Logf("%s: %s, %s: %s", c.Name, c.Object, c.Field, c.Text)
			return !o.six || w.until(obstacle{}) // it is nothing to the other family
		default:
			last = c.Name + ": " + c.Object + ", " + c.Field + ": " + c.Text
		}
		if time.Now().After(deadline) {
			w.t.Errorf("after %s the first cause is %q, want %+v", whyTimeout, last, [...]string{o.condition, o.object, o.field, o.says})
			w.tell()
			return false
		}
	}
}

// is says whether a cause is the obstacle.
func (o obstacle) is(c lab.VIPCause) bool {
	return c.Name == o.condition && c.Object == o.object && c.Field == o.field && strings.Contains(c.Text, o.says)
}

// addr is the virtual address that it is about.
func (o obstacle) addr() string {
	switch {
	case o.six:
		return whyVIP6
	case o.udp:
		return whyEcho
	}
	return whyVIP
}

// first is the first cause why a virtual address is not reached; the zero value where there is none.
func (w *whyLab) first(addr string) (lab.VIPCause, error) {
	e, err := w.l.ExplainVIP(w.t.Context(), netip.MustParseAddr(addr))
	if err != nil || e.OK {
		return lab.VIPCause{}, err
	}
	return e.Causes[0], nil
}

// wait waits until the first cause is a condition.
func wait(condition string) func(*whyLab) {
	return func(w *whyLab) {
		w.t.Helper()
		for deadline := time.Now().Add(whyTimeout); ; time.Sleep(50 * time.Millisecond) {
			c, err := w.first(whyVIP)
			if err == nil && c.Name == condition {
				return
			}
			if time.Now().After(deadline) {
				w.t.Fatalf("%v; the first cause is %+v, want %s", err, c, condition)
			}
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
