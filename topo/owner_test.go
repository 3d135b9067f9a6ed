package topo_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/topo"
)

// claim is a lab that wants the namespace spk-tco-b-c, and a directory of pins.
type claim struct {
	*topo.Runtime
	host topo.Host
	plan topo.Plan
}

// newClaim is a lab whose worker has that name; it takes nothing yet, and is taken down at last.
func newClaim(t *testing.T, host topo.Host, lab, worker string) claim {
	t.Helper()
	c := claim{host.Open(lab), host, topo.Plan{}}
	l := testLab(lab)
	l.Workers[0].Name = worker
	steps := append(topo.Base(l), topo.Step{Pins: &topo.PinsStep{Dir: "tmm"}},
		topo.Step{Process: &topo.ProcessStep{Name: "d1", Netns: c.Netns(worker), Argv: []string{"sleep", "infinity"}}})
	c.plan = topo.NewPlan(steps)
	t.Cleanup(func() {
		if err := c.Down(context.Background(), nil); err != nil {
			t.Errorf("down: %v", err)
		}
	})
	return c
}

// converge makes the lab, as its up does.
func (c claim) converge(t *testing.T) error {
	t.Helper()
	unlock, err := c.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	return c.Converge(t.Context(), c.plan, nil)
}

// standing says what the lab lacks, nothing if it is whole.
func (c claim) standing(t *testing.T) (lacks []string) {
	t.Helper()
	for _, s := range c.plan.Steps() {
		if n := s.Netns; n != nil && ping(t, n.Name, "127.0.0.1") != nil {
			lacks = append(lacks, n.Name)
		}
	}
	if _, err := os.Stat(filepath.Join(c.PinDir(), "tmm")); err != nil {
		lacks = append(lacks, "pins")
	}
	if len(c.Pids("d1")) == 0 {
		lacks = append(lacks, "process")
	}
	return lacks
}

// machine is where labs of two state directories meet; nothing of those named is left there.
func machine(t *testing.T, lab string) (here, there topo.Host) {
	t.Helper()
	roottest.Need(t)
	bpf := t.TempDir()
	if err := unix.Mount("bpf", bpf, "bpf", 0, "mode=0700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left := leftovers(lab); left != "" {
			t.Errorf("left behind: %s", left)
		}
		if err := unix.Unmount(bpf, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return topo.Host{Run: t.TempDir(), BPF: bpf}, topo.Host{Run: t.TempDir(), BPF: bpf}
}

// TestNamesakes: whoever comes second to the name of a namespace is refused, and whatever is done about it, the lab
// that has it keeps all that it has.
func TestNamesakes(t *testing.T) {
	here, there := machine(t, "tco")
	for _, tc := range []struct {
		name          string
		host          topo.Host // of the second lab
		first, second [2]string // lab, worker
	}{
		{"names that join to one", here, [2]string{"tco", "b-c"}, [2]string{"tco-b", "c"}},
		{"one name below another directory", there, [2]string{"tco", "b-c"}, [2]string{"tco", "b-c"}},
		{"both", there, [2]string{"tco-b", "c"}, [2]string{"tco", "b-c"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			keeper := newClaim(t, here, tc.first[0], tc.first[1])
			if err := keeper.converge(t); err != nil {
				t.Fatal(err)
			}
			second := newClaim(t, tc.host, tc.second[0], tc.second[1])
			whole := func(after string) {
				t.Helper()
				if lacks := keeper.standing(t); len(lacks) > 0 {
					t.Fatalf("after %s the other lab lacks %v", after, lacks)
				}
			}
			err := second.converge(t)
			if err == nil || !strings.Contains(err.Error(), "belongs to the lab with its state in "+keeper.Dir()) {
				t.Errorf("the second lab was made: %v", err)
			}
			whole("the second up")
			if made, err := second.Applied(); err != nil || len(made) != 0 {
				t.Errorf("made before it was refused: %v, %v", made, err)
			}
			if removed, err := second.host.Prune(t.Context()); err != nil || len(removed) != 0 {
				t.Errorf("pruned %v, %v", removed, err)
			}
			whole("prune")
			if err := second.Down(t.Context(), nil); err != nil {
				t.Error(err)
			}
			whole("the second down")
		})
	}
}

// TestDeadNamesake: a lab that has lost its namespaces to a namesake is dead, and what its journal names is not its
// own any more.
func TestDeadNamesake(t *testing.T) {
	for _, way := range []string{"prune", "down", "up"} {
		t.Run(way, func(t *testing.T) {
			here, there := machine(t, "tdn")
			dead, keeper := newClaim(t, there, "tdn", "w1"), newClaim(t, here, "tdn", "w1")
			if err := dead.converge(t); err != nil {
				t.Fatal(err)
			}
			if err := dead.Kill(t.Context(), "d1"); err != nil {
				t.Fatal(err)
			}
			for _, ns := range strings.Fields(leftovers("tdn")) {
				if out, err := exec.Command("ip", "netns", "del", filepath.Base(ns)).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			if err := keeper.converge(t); err != nil {
				t.Fatal(err)
			}
			switch way {
			case "prune":
				removed, err := there.Prune(t.Context())
				if want := "lab tdn: its namespaces are gone"; err != nil || len(removed) != 1 || removed[0] != want {
					t.Errorf("pruned %q, %v; want %q", removed, err, want)
				}
			case "down":
				if err := dead.Down(t.Context(), nil); err != nil {
					t.Error(err)
				}
			case "up":
				if err := dead.converge(t); err == nil {
					t.Error("it was made in the namespaces of another lab")
				}
			}
			if lacks := keeper.standing(t); len(lacks) > 0 {
				t.Errorf("the other lab lacks %v", lacks)
			}
		})
	}
}

// TestPruneCards puts back the cards of labs that are gone, by their records alone.
func TestPruneCards(t *testing.T) {
	roottest.Need(t)
	for _, tc := range []struct {
		name, owner string
		state       bool // the lab has a state directory
		locked      bool // somebody works on the lab
		want        []string
		back        bool // the card is put back
	}{
		{"no state", "lab tcard", false, false, []string{"the changes of lab tcard to card 0000:01:00.0"}, true},
		{"no journal", "lab tcard", true, false, []string{"lab tcard: has nothing"}, true},
		{"being made", "lab tcard", true, true, nil, false},
		{"not a lab's", "somebody", true, false, []string{"lab tcard: has nothing"}, false},
		{"no name of a lab", "lab ../tcard", false, false, nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			host := topo.Host{Run: t.TempDir(), Sys: t.TempDir(), BPF: t.TempDir()}
			device := writeCard(t, host, "0000:01:00.0", tc.owner)
			if tc.locked {
				lock(t, host.Open("tcard"))
			}
			if tc.state && !tc.locked {
				if err := os.MkdirAll(host.Open("tcard").Dir(), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if removed, err := (topo.Host{Run: t.TempDir(), Sys: host.Sys, BPF: host.BPF}).Prune(t.Context()); err != nil || len(removed) > 0 {
				t.Errorf("from another state directory: %q, %v", removed, err)
			}
			removed, err := host.Prune(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, removed); diff != "" {
				t.Errorf("(-want +removed)\n%s", diff)
			}
			records, err := host.CardRecords()
			if err != nil {
				t.Fatal(err)
			}
			number, err := os.ReadFile(filepath.Join(device, "sriov_numvfs"))
			if err != nil {
				t.Fatal(err)
			}
			want := card{vfs: "4", records: 1}
			if tc.back {
				want = card{vfs: "0"}
			}
			if got := (card{string(number), len(records)}); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}

// card is what tells whether a card was put back.
type card struct {
	vfs     string
	records int
}

// writeCard makes a PF with four VFs in host's sysfs, and the record that says that owner has made them. It returns
// the PF's directory.
func writeCard(t *testing.T, host topo.Host, address, owner string) string {
	t.Helper()
	device := filepath.Join(host.Sys, "bus/pci/devices", address)
	for path, text := range map[string]string{
		filepath.Join(device, "vendor"):                    "0x8086",
		filepath.Join(device, "sriov_totalvfs"):            "7",
		filepath.Join(device, "sriov_numvfs"):              "4",
		filepath.Join(host.Run, ".sriov", address+".json"): fmt.Sprintf(`{"owner": %q, "target": {"address": %q, "num_vfs": 4}, "prior": {"address": %[2]q}}`, owner, address),
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return device
}
