package topo

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/roottest"
)

// freshMachine says to a test that it runs where no namespace has had a name yet.
const freshMachine = "SPKLAB_FRESH_MACHINE"

// onFreshMachine runs the test again, by itself, where /run is empty and no mount is shared.
func onFreshMachine(t *testing.T) {
	t.Helper()
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c",
		`mount -t tmpfs none /run && exec "$0" -test.run "^$1\$" -test.v`, os.Args[0], t.Name())
	cmd.Env = append(os.Environ(), freshMachine+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestNamesBesideOthers makes and removes namespaces on a machine that has had none, while iproute2 makes
// the first of its own: neither hides what the other has.
func TestNamesBesideOthers(t *testing.T) {
	roottest.Need(t)
	if os.Getenv(freshMachine) == "" {
		onFreshMachine(t)
		return
	}
	const ours, later, theirs = "spk-fresh-one", "spk-fresh-two", "fresh-theirs"
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(makeNetns(ours, "mark"))
	roottest.Run(t, "ip netns add "+theirs)
	must(makeNetns(later, "mark"))
	roottest.Run(t, "ip -n "+ours+" link show lo")
	for _, name := range []string{ours, later} {
		if mark, err := netnsMark(name); err != nil || mark != "mark" {
			t.Errorf("%s: mark %q, %v", name, mark, err)
		}
		must(removeNetns(name))
		if _, err := os.Stat(netnsDir + "/" + name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	roottest.Run(t, "ip netns del "+theirs)
	mounts, err := os.ReadFile("/proc/thread-self/mountinfo")
	must(err)
	if strings.Contains(string(mounts), "fresh-") {
		t.Errorf("mounts are left:\n%s", mounts)
	}
}

// TestHiddenName removes a name over which another mount of the directory was made: it stays, and the
// error says what to do; then it goes.
func TestHiddenName(t *testing.T) {
	roottest.Need(t)
	if os.Getenv(freshMachine) == "" {
		onFreshMachine(t)
		return
	}
	const name = "spk-fresh-hidden"
	if err := makeNetns(name, "mark"); err != nil {
		t.Fatal(err)
	}
	roottest.Run(t, "mount --make-private "+netnsDir)
	roottest.Run(t, "mount --bind "+netnsDir+" "+netnsDir)
	if err := removeNetns(name); !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "umount -l "+netnsDir) {
		t.Errorf("got %v, want that it is busy and what to do", err)
	}
	roottest.Run(t, "umount -l "+netnsDir)
	if err := removeNetns(name); err != nil {
		t.Error(err)
	}
}
