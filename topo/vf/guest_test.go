package vf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// The test binary runs itself as somebody who gives a VF away and takes it back, to be killed.
const victimEnv = "VF_TEST_VICTIM" // the directory of the records

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimEnv); dir != "" {
		victim(Host{Dir: dir})
		return
	}
	os.Exit(m.Run())
}

// victim gives the VF of its first argument away and takes it back until it is killed.
func victim(h Host) {
	_, _ = fmt.Println("begins")
	for {
		_, err := h.Add(context.Background(), Request{Address: os.Args[1], Netns: os.Args[2], Interface: "net1", Settings: emulated()})
		if err := errors.Join(err, h.Del(context.Background(), os.Args[1])); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// emulated are all settings that QEMU's igb takes.
func emulated() Settings {
	return Settings{VLAN: pointer(100), QoS: 3, MaxTxRate: pointer(200), SpoofChk: "off", Trust: "on", MAC: "02:aa:bb:cc:00:10", MTU: 4000}
}

// guest is a machine with a card that has VFs, such as those of `spklab vm`, with two VFs and an empty
// namespace. Elsewhere the test is skipped, but not where SPKLAB_SRIOV says that there is one.
func guest(t *testing.T) (h Host, addresses []string, ns string) {
	t.Helper()
	pfs, err := filepath.Glob("/sys/bus/pci/devices/*/sriov_totalvfs")
	if err != nil || len(pfs) == 0 || os.Geteuid() != 0 {
		if os.Getenv("SPKLAB_SRIOV") == "guest" {
			t.Fatalf("no card with SR-IOV, or no root (%v)", err)
		}
		t.Skip("needs root and a network card with SR-IOV, as in `spklab vm`")
	}
	h = Host{Dir: filepath.Join(t.TempDir(), "vf")}
	dir := filepath.Dir(pfs[0])
	pf, err := h.Interface(filepath.Base(dir))
	if err != nil || pf == "" {
		t.Fatalf("the PF has no interface (%v)", err)
	}
	l, err := netlink.LinkByName(pf)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(l); err != nil {
		t.Fatal(err)
	}
	numVFs := func(n string) {
		if err := os.WriteFile(filepath.Join(dir, "sriov_numvfs"), []byte(n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	numVFs("0")
	numVFs("2")
	t.Cleanup(func() { numVFs("0") })
	for i := range 2 {
		to, err := os.Readlink(fmt.Sprintf("%s/virtfn%d", dir, i))
		if err != nil {
			t.Fatal(err)
		}
		addresses = append(addresses, filepath.Base(to))
		eventually(t, "VF "+addresses[i]+" has an interface", func() (bool, error) {
			name, err := h.Interface(addresses[i])
			return name != "", err
		})
	}
	return h, addresses, newNamed(t, "spk-vftest")
}

func eventually(t *testing.T, what string, ask func() (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := await(ctx, ask); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// newNamed makes a named namespace for the test.
func newNamed(t *testing.T, name string) string {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	ns, err := netns.NewNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	_ = ns.Close()
	if err := netns.Set(own); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netns.DeleteNamed(name) }) // a test may have been first
	return name
}

// stateOf is a VF in the caller's namespace as the kernel has it.
func stateOf(t *testing.T, h Host, address string) State {
	t.Helper()
	f, err := h.Find(address)
	if err != nil {
		t.Fatal(err)
	}
	d, err := openNIC(h, Record{Function: f})
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	s, err := d.State()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestGuest gives real VFs away and takes them back: attributes read back, prior state restored.
func TestGuest(t *testing.T) {
	h, addresses, ns := guest(t)
	add := func(s Settings) (Result, error) {
		return h.Add(t.Context(), Request{Address: addresses[0], Netns: ns, Interface: "net1", Settings: s})
	}
	for name, s := range map[string]Settings{
		"nothing set": {}, "a MAC": {MAC: "02:aa:bb:cc:00:11"}, "a MAC, trusted": {MAC: "02:aa:bb:cc:00:12", Trust: "on"},
		"a tag": {VLAN: pointer(100), QoS: 3}, "all": emulated(),
	} {
		t.Run(name, func(t *testing.T) {
			prior := stateOf(t, h, addresses[0])
			got, err := add(s)
			if err != nil {
				t.Fatal(err)
			}
			if err := h.Check(addresses[0]); err != nil {
				t.Error(err)
			}
			if s.MAC != "" && got.MAC != s.MAC {
				t.Errorf("MAC %s, want %s", got.MAC, s.MAC)
			}
			if _, err := add(s); !errors.Is(err, ErrAllocated) {
				t.Errorf("the second Add: %v", err)
			}
			other := h
			other.Dir = t.TempDir()
			if _, err := other.Add(t.Context(), Request{Address: addresses[0], Netns: ns, Interface: "net9"}); !errors.Is(err, ErrAllocated) {
				t.Errorf("an Add that knows nothing of the first: %v", err)
			}
			for range 2 {
				if err := h.Del(t.Context(), addresses[0]); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(prior, stateOf(t, h, addresses[0])); diff != "" {
				t.Errorf("not as it was (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("what the driver refuses", func(t *testing.T) {
		prior := stateOf(t, h, addresses[0])
		for _, s := range []Settings{{VLAN: pointer(9), LinkState: "enable"}, {VLAN: pointer(9), Proto: Proto8021AD}} {
			if _, err := add(s); err == nil {
				t.Errorf("igb took %s", s)
			}
			if diff := cmp.Diff(prior, stateOf(t, h, addresses[0])); diff != "" {
				t.Errorf("%s: not as it was (-want +got):\n%s", s, diff)
			}
		}
	})
	t.Run("VLANs above go with the namespace's view", func(t *testing.T) {
		prior := stateOf(t, h, addresses[0])
		if _, err := add(emulated()); err != nil {
			t.Fatal(err)
		}
		addTag(t, ns)
		if err := h.Del(t.Context(), addresses[0]); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(prior, stateOf(t, h, addresses[0])); diff != "" {
			t.Errorf("not as it was (-want +got):\n%s", diff)
		}
	})
	t.Run("the namespace goes first", func(t *testing.T) {
		prior := stateOf(t, h, addresses[0])
		if _, err := add(emulated()); err != nil {
			t.Fatal(err)
		}
		if err := netns.DeleteNamed(ns); err != nil {
			t.Fatal(err)
		}
		if err := h.Del(t.Context(), addresses[0]); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(prior, stateOf(t, h, addresses[0])); diff != "" {
			t.Errorf("not as it was (-want +got):\n%s", diff)
		}
	})
}

// addTag puts a tagged VLAN on net1 of a namespace, as a TMM does.
func addTag(t *testing.T, ns string) {
	t.Helper()
	fd, err := netns.GetFromName(ns)
	if err != nil {
		t.Fatal(err)
	}
	s, err := openSpace(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	l, err := s.LinkByName("net1")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.LinkSetAllmulticastOn(l), s.LinkAdd(&netlink.Vlan{
		LinkAttrs: netlink.LinkAttrs{Name: "net1.200", ParentIndex: l.Attrs().Index}, VlanId: 200,
	})); err != nil {
		t.Fatal(err)
	}
}

// TestGuestKill kills with SIGKILL, at random moments, a process that gives a VF away and takes it back:
// the next Del restores it. Every third time the pod's namespace goes as well.
func TestGuestKill(t *testing.T) {
	h, addresses, ns := guest(t)
	address := addresses[1]
	prior := stateOf(t, h, address)
	const kills = 18
	begun := map[bool]int{}
	for i := range kills {
		after := time.Duration(rand.Int64N(int64(1500 * time.Millisecond)))
		kill(t, exec.Command("/proc/self/exe", address, ns), h.Dir, after)
		records, err := h.Records()
		if err != nil {
			t.Fatal(err)
		}
		begun[len(records) > 0]++
		if i%3 == 2 {
			if err := netns.DeleteNamed(ns); err != nil {
				t.Fatal(err)
			}
			ns = newNamed(t, fmt.Sprintf("spk-vftest-%d", i))
		}
		if err := h.Del(t.Context(), address); err != nil {
			t.Fatalf("kill %d after %s: %v", i, after, err)
		}
		if diff := cmp.Diff(prior, stateOf(t, h, address)); diff != "" {
			t.Fatalf("kill %d after %s: not as it was (-want +got):\n%s", i, after, diff)
		}
	}
	t.Logf("%d kills, %d of them between the first change and the last one", kills, begun[true])
	if begun[true] == 0 {
		t.Error("nobody was killed at work")
	}
}

// kill starts a victim and kills it some time after it began.
func kill(t *testing.T, cmd *exec.Cmd, dir string, after time.Duration) {
	t.Helper()
	cmd.Env = append(os.Environ(), victimEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-t.Context().Done():
	case <-time.After(after): // the moment is the point of the test
	}
	_ = cmd.Process.Kill() // it may have failed: its exit code says so
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() >= 0 {
		t.Fatalf("the victim ended by itself: %v", err)
	}
}
