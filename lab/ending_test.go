package lab_test

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/roottest"
)

// TestUpWhileAProcessEnds: a router that has been asked to end, and has not ended when up looks for it, is started
// again.
func TestUpWhileAProcessEnds(t *testing.T) {
	roottest.Need(t)
	l := up(t, "spk", "ending")
	const router = "upstream"
	pids := l.Runtime().Pids(router)
	if len(pids) != 1 {
		t.Fatalf("processes %v of the router, want one", pids)
	}
	for _, s := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGTERM} {
		if err := syscall.Kill(pids[0], s); err != nil {
			t.Fatal(err)
		}
	}
	src, err := lab.Load(os.DevNull, "spk")
	if err != nil {
		t.Fatal(err)
	}
	src.Spec.Name = l.name
	waited := false
	l.opt.Progress = func(e lab.Event) {
		if !waited && strings.HasPrefix(e.Text, "waiting for an answer of "+router) {
			waited = true
			if err := syscall.Kill(pids[0], syscall.SIGCONT); err != nil {
				t.Error(err)
			}
		}
	}
	if _, _, err := lab.Up(t.Context(), src, l.opt); err != nil {
		t.Fatal(err)
	}
	now := l.Runtime().Pids(router)
	if !waited || len(now) != 1 || slices.Contains(pids, now[0]) {
		t.Errorf("processes %v of the router, before %v; waited for an answer: %t", now, pids, waited)
	}
}
