package topo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/cni"
	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/topo"
)

// The test binary runs itself as the lab's process.
const daemonEnv = "TOPO_TEST_DAEMON" // path of the control socket

func TestMain(m *testing.M) {
	if socket := os.Getenv(daemonEnv); socket != "" {
		if socket == "fail" {
			fmt.Println("no such thing as a free port")
			os.Exit(3)
		}
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		if err := (&ctl.Server{}).Serve(ctx, socket); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// testLab is two hosts on one segment with a pod on each side of a macvlan.
func testLab(name string) *topo.Lab {
	p := netip.MustParsePrefix
	a := netip.MustParseAddr
	return &topo.Lab{
		Name:     name,
		Networks: []topo.Network{{Name: "seg", Subnets: []netip.Prefix{p("192.0.2.0/24"), p("2001:db8::/64")}}},
		Workers: []topo.Worker{{Name: "w1", NICs: []topo.NIC{
			{Name: "ens192", Network: "seg", Addresses: []netip.Addr{a("192.0.2.1"), a("2001:db8::1")}},
			{Name: "ens224", Network: "seg"},
		}}},
		Clients: []topo.Client{{Name: "c1", NICs: []topo.NIC{{Name: "eth0", Network: "seg", Addresses: []netip.Addr{a("192.0.2.2"), a("2001:db8::2")}}},
			Routes: []topo.Route{{To: p("0.0.0.0/0"), Via: a("192.0.2.1")}}}},
	}
}

func testPod(name string) topo.Pod {
	return topo.Pod{Namespace: "default", Name: name, Worker: "w1", Attachments: []topo.Attachment{
		{Network: "default/macvlan-internal", Interface: "net1", MAC: "02:00:00:00:00:09", Config: cni.Config{Type: cni.TypeMacvlan, Master: "ens224", Mode: "bridge"}},
	}}
}

// open gives a test a Host of its own; whatever happens, nothing of the lab stays.
func open(t *testing.T, lab string) *topo.Runtime {
	t.Helper()
	roottest.Need(t)
	r := topo.Host{Run: t.TempDir()}.Open(lab)
	t.Cleanup(func() {
		if err := r.Down(context.Background(), nil); err != nil {
			t.Errorf("down: %v", err)
		}
		if left := leftovers(lab); left != "" {
			t.Errorf("left behind: %s", left)
		}
	})
	return r
}

// leftovers lists what the kernel still knows of a lab.
func leftovers(lab string) string {
	names, _ := filepath.Glob("/run/netns/" + topo.NetnsName(lab, "*"))
	return strings.Join(names, " ")
}

func lock(t *testing.T, r *topo.Runtime) {
	t.Helper()
	unlock, err := r.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unlock)
}

func daemon(r *topo.Runtime, name, socket string) topo.Step {
	return topo.Step{Process: &topo.ProcessStep{
		Name: name, Netns: r.Netns("w1"), Argv: []string{"/proc/self/exe"},
		Env: []string{daemonEnv + "=" + socket}, Ready: socket,
	}}
}

// ping says whether an address answers: a closed port that refuses is an answer.
func ping(t *testing.T, netns, to string) error {
	t.Helper()
	return topo.Do(netns, func() error {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(to, "9"), 5*time.Second)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return nil
		}
		if err == nil {
			return c.Close()
		}
		return err
	})
}

func TestConverge(t *testing.T) {
	r := open(t, "tconv")
	lock(t, r)
	l := testLab("tconv")
	socket := filepath.Join(t.TempDir(), "d.sock")
	base := append(topo.Base(l), topo.PodBase(l, testPod("p1"))...)
	base = append(base, daemon(r, "d1", socket),
		topo.Step{Addr: &topo.AddrStep{Netns: r.Netns("p1"), Link: "net1", Prefix: netip.MustParsePrefix("192.0.2.9/24")}},
		topo.Step{File: &topo.FileStep{Path: "conf/x.json", Content: "{}"}})
	converge := func(steps []topo.Step) int {
		t.Helper()
		done := 0
		if err := r.Converge(t.Context(), topo.NewPlan(steps), func(topo.Progress) { done++ }); err != nil {
			t.Fatal(err)
		}
		return done
	}
	if n := converge(base); n != len(topo.NewPlan(base).Steps()) {
		t.Errorf("first converge made %d steps, want %d", n, len(topo.NewPlan(base).Steps()))
	}
	for _, to := range []string{"192.0.2.1", "2001:db8::1", "192.0.2.9"} {
		if err := ping(t, r.Netns("c1"), to); err != nil {
			t.Errorf("ping %s: %v", to, err)
		}
	}
	if err := ctl.Get(t.Context(), socket, ctl.PathReady, nil); err != nil {
		t.Errorf("process: %v", err)
	}
	if n := converge(base); n != 0 {
		t.Errorf("second converge took %d steps, want none", n)
	}

	more := append(base[:len(base):len(base)], topo.PodBase(l, topo.Pod{Namespace: "default", Name: "p2", Worker: "w1"})...)
	if n := converge(more); n == 0 {
		t.Error("a new pod took no steps")
	}
	converge(base)
	if names := leftovers("tconv"); strings.Contains(names, "p2") {
		t.Errorf("the removed pod is still there: %s", names)
	}
	if n := converge(base); n != 0 {
		t.Errorf("converge after the removal took %d steps, want none", n)
	}

	fi, err := os.Stat(r.Dir())
	if err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("state directory: %v %v, want mode 0700", fi.Mode(), err)
	}
}

// TestConvergeHeals removes parts behind the runtime's back.
func TestConvergeHeals(t *testing.T) {
	r := open(t, "theal")
	lock(t, r)
	l := testLab("theal")
	socket := filepath.Join(t.TempDir(), "d.sock")
	plan := topo.NewPlan(append(topo.Base(l), daemon(r, "d1", socket)))
	if err := r.Converge(t.Context(), plan, nil); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("ip", "netns", "del", r.Netns("c1")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := r.Converge(t.Context(), plan, nil); err != nil {
		t.Fatal(err)
	}
	if err := ping(t, r.Netns("c1"), "192.0.2.1"); err != nil {
		t.Errorf("after a namespace was removed: %v", err)
	}
	pids := r.Pids("d1")
	if len(pids) != 1 {
		t.Fatalf("processes %v, want one", pids)
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); len(r.Pids("d1")) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the process does not end after SIGKILL")
		}
	}
	if err := r.Converge(t.Context(), plan, nil); err != nil {
		t.Fatal(err)
	}
	if err := ctl.Get(t.Context(), socket, ctl.PathReady, nil); err != nil {
		t.Errorf("after the process was killed: %v", err)
	}
}

// TestHalfMade makes a part of a lab, tears the journal's last line and goes on: Converge has to
// finish the lab, and Down to remove all of it.
func TestHalfMade(t *testing.T) {
	roottest.Need(t)
	l := testLab("thalf")
	plan := topo.NewPlan(append(topo.Base(l), topo.PodBase(l, testPod("p1"))...))
	steps := plan.Steps()
	for _, n := range []int{0, 1, 3, len(steps) / 2, len(steps) - 1} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			r := open(t, "thalf")
			lock(t, r)
			if err := r.Converge(t.Context(), topo.NewPlan(steps[:n]), nil); err != nil {
				t.Fatal(err)
			}
			forgetMade(t, filepath.Join(r.Dir(), "journal"))
			if err := r.Converge(t.Context(), plan, nil); err != nil {
				t.Fatal(err)
			}
			if err := ping(t, r.Netns("c1"), "192.0.2.1"); err != nil {
				t.Error(err)
			}
		})
	}
}

// forgetMade tears the last line, the "made" of an object that exists, as a kill might.
func forgetMade(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
	last := lines[len(lines)-1]
	lines[len(lines)-1] = last[:len(last)/2]
	if err := os.WriteFile(path, bytes.Join(lines, nil), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestProcessThatFails(t *testing.T) {
	r := open(t, "tfail")
	lock(t, r)
	step := daemon(r, "d1", filepath.Join(t.TempDir(), "d.sock"))
	step.Process.Env = []string{daemonEnv + "=fail"}
	err := r.Converge(t.Context(), topo.NewPlan(append(topo.Base(testLab("tfail")), step)), nil)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"make process d1", "ended before it was ready", "exit status 3", "no such thing as a free port"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q lacks %q", err, want)
		}
	}
}

// TestLostJournal takes a lab down whose journal is gone: its processes and namespaces carry its mark.
func TestLostJournal(t *testing.T) {
	r := open(t, "tlostj")
	lock(t, r)
	socket := filepath.Join(t.TempDir(), "d.sock")
	if err := r.Converge(t.Context(), topo.NewPlan(append(topo.Base(testLab("tlostj")), daemon(r, "d1", socket))), nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(r.Dir(), "journal")); err != nil {
		t.Fatal(err)
	}
	if err := r.Down(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := ctl.Get(t.Context(), socket, ctl.PathReady, nil); err == nil {
		t.Error("the process still answers")
	}
}

// TestLostState prunes a lab whose state directory is gone with all that was in it.
func TestLostState(t *testing.T) {
	roottest.Need(t)
	host := topo.Host{Run: t.TempDir()}
	r := host.Open("tlost")
	unlock, err := r.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "d.sock")
	if err := r.Converge(t.Context(), topo.NewPlan(append(topo.Base(testLab("tlost")), daemon(r, "d1", socket))), nil); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(r.Dir()); err != nil {
		t.Fatal(err)
	}
	unlock()
	if removed, err := (topo.Host{Run: t.TempDir()}).Prune(t.Context()); err != nil || len(removed) != 0 {
		t.Errorf("another host pruned %v, %v; the namespaces are not its own", removed, err)
	}
	removed, err := host.Prune(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := ctl.Get(t.Context(), socket, ctl.PathReady, nil); err == nil {
		t.Error("the process still answers")
	}
	want := []string{"namespace spk-tlost-c1", "namespace spk-tlost-lan", "namespace spk-tlost-w1"}
	if diff := cmp.Diff(want, removed); diff != "" {
		t.Errorf("pruned (-want +got):\n%s", diff)
	}
	if left := leftovers("tlost"); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

func TestPruneKeepsTheLiving(t *testing.T) {
	roottest.Need(t)
	host := topo.Host{Run: t.TempDir()}
	r := host.Open("tlive")
	unlock, err := r.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Converge(t.Context(), topo.NewPlan(topo.Base(testLab("tlive"))), nil); err != nil {
		t.Fatal(err)
	}
	unlock()
	if removed, err := host.Prune(t.Context()); err != nil || len(removed) != 0 {
		t.Errorf("pruned %v, %v; want nothing", removed, err)
	}
	if err := ping(t, r.Netns("c1"), "192.0.2.1"); err != nil {
		t.Error(err)
	}
	if err := r.Down(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if left := leftovers("tlive"); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

func TestLock(t *testing.T) {
	host := topo.Host{Run: t.TempDir()}
	r := host.Open("tlock")
	unlock, err := r.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Lock(ctx); err == nil {
		t.Error("a second lock was given out")
	}
	unlock()
	if labs, err := host.Labs(); err != nil || len(labs) != 0 {
		t.Errorf("labs %v, %v: a lock alone must leave nothing", labs, err)
	}
	if _, err := host.Open("../etc").Lock(t.Context()); err == nil {
		t.Error("a lab name that leads out of the state directory was accepted")
	}
}

// TestPins mounts the BPF file system in a directory of its own for labs of two state directories, and sees it
// unmounted with the last lab, whichever state directory that is of.
func TestPins(t *testing.T) {
	roottest.Need(t)
	for name, lastIsFirst := range map[string]bool{"who mounted it goes last": true, "who mounted it goes first": false} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			bpf := filepath.Join(dir, "bpf")
			if err := os.Mkdir(bpf, 0o700); err != nil {
				t.Fatal(err)
			}
			labs := []*topo.Runtime{pinned(t, topo.Host{Run: filepath.Join(dir, "a"), BPF: bpf}, "tpins-a"),
				pinned(t, topo.Host{Run: filepath.Join(dir, "b"), BPF: bpf}, "tpins-b")}
			if lastIsFirst {
				slices.Reverse(labs)
			}
			for i, r := range labs {
				if err := r.Down(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
				mounts, err := os.ReadFile("/proc/mounts")
				if mounted, want := strings.Contains(string(mounts), bpf), i == 0; err != nil || mounted != want {
					t.Errorf("%d labs left: the BPF file system is mounted: %t, want %t (%v)", len(labs)-i-1, mounted, want, err)
				}
			}
			if left, err := filepath.Glob(filepath.Join(dir, "[ab]")); err != nil || len(left) > 0 {
				t.Errorf("state is left: %v, %v", left, err)
			}
		})
	}
}

// pinned is a lab that has a namespace and a directory of pins.
func pinned(t *testing.T, host topo.Host, name string) *topo.Runtime {
	t.Helper()
	r := host.Open(name)
	lock(t, r)
	plan := topo.NewPlan([]topo.Step{{Netns: &topo.NetnsStep{Name: r.Netns("p")}}, {Pins: &topo.PinsStep{Dir: "p"}}})
	if err := r.Converge(t.Context(), plan, nil); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(filepath.Join(r.PinDir(), "p")); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("pin directory: %v, %v; want mode 0700", fi, err)
	}
	return r
}

// TestPinsOfOthers has the BPF file system mounted by somebody else: it stays.
func TestPinsOfOthers(t *testing.T) {
	roottest.Need(t)
	dir := t.TempDir()
	bpf := filepath.Join(dir, "bpf")
	if err := os.Mkdir(bpf, 0o700); err != nil {
		t.Fatal(err)
	}
	roottest.Run(t, "mount -t bpf bpf "+bpf)
	t.Cleanup(func() { roottest.Run(t, "umount "+bpf) })
	r := pinned(t, topo.Host{Run: filepath.Join(dir, "a"), BPF: bpf}, "tpins-c")
	if err := r.Down(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if mounts, err := os.ReadFile("/proc/mounts"); err != nil || !strings.Contains(string(mounts), bpf) {
		t.Errorf("the BPF file system of somebody else was unmounted (%v)", err)
	}
}
