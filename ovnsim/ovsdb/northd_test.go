package ovsdb

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// startNorthd runs Debian's ovn-northd between a northbound database and a southbound one of its
// own, and returns the southbound's socket.
func startNorthd(t *testing.T, nb string) (sb string) {
	t.Helper()
	dir := t.TempDir()
	db := filepath.Join(dir, "sb.db")
	if out, err := exec.Command("ovsdb-tool", "create", db, "/usr/share/ovn/ovn-sb.ovsschema").CombinedOutput(); err != nil {
		t.Fatalf("ovsdb-tool create: %v: %s", err, out)
	}
	sb, _ = startReferenceOn(t, db)
	cmd := exec.Command("ovn-northd", "--ovnnb-db=unix:"+nb, "--ovnsb-db=unix:"+sb, "--unixctl="+filepath.Join(dir, "ctl"), "-vconsole:off")
	cmd.Env = append(os.Environ(), "OVN_RUNDIR="+dir, "OVS_RUNDIR="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return sb
}

// nbctl runs ovn-nbctl and wants it to succeed.
func nbctl(t *testing.T, sock, line string) string {
	t.Helper()
	o := command(t, sock, "ovn-nbctl", append([]string{"--timeout=10", "--no-leader-only"}, words(line)...)...)
	if o.Code != 0 {
		t.Fatalf("ovn-nbctl %s: %+v", line, o)
	}
	return o.Stdout
}

// flows are the logical flows that mention a text.
func flows(t *testing.T, sb, text string) (n int) {
	t.Helper()
	out, err := exec.Command("ovn-sbctl", "--timeout=10", "--no-leader-only", "--db=unix:"+sb, "lflow-list").Output()
	if err != nil {
		t.Fatalf("ovn-sbctl lflow-list: %v", err)
	}
	return strings.Count(string(out), text)
}

// TestNorthdSideBySide has one real ovn-northd on this server and one on ovsdb-server. Every
// command waits for it (--wait=sb), and both databases read the same afterwards.
func TestNorthdSideBySide(t *testing.T) {
	needPrograms(t, "ovn-nbctl", "ovn-northd", "ovsdb-server", "ovsdb-tool", "ovn-sbctl")
	ours, _ := startWith(t, Config{Northd: true})
	theirs, _ := startReferenceOn(t, createDatabase(t, filepath.Join(t.TempDir(), "nb.db")))
	sbs := map[string]string{ours: startNorthd(t, ours), theirs: startNorthd(t, theirs)}
	compareLines(t, "nbctl-northd.txt", func(line string) (want, got outcome) {
		args := append([]string{"--timeout=10", "--no-leader-only", "--wait=sb"}, words(line)...)
		return command(t, theirs, "ovn-nbctl", args...), command(t, ours, "ovn-nbctl", args...)
	})
	if diff := cmp.Diff(lflows(t, sbs[theirs]), lflows(t, sbs[ours])); diff != "" {
		t.Errorf("logical flows -ovsdb-server +ours:\n%s", diff)
	}
}

func lflows(t *testing.T, sb string) []string {
	t.Helper()
	out, err := exec.Command("ovn-sbctl", "--timeout=10", "--no-leader-only", "--db=unix:"+sb, "lflow-list").Output()
	if err != nil || len(out) == 0 {
		t.Fatalf("ovn-sbctl lflow-list: %v, %d bytes", err, len(out))
	}
	return strings.Split(normalise(string(out)), "\n")
}

// TestNorthdSurvivesRestart restarts this server under a running ovn-northd, with a file that
// keeps the database: what is written afterwards becomes logical flows like what was there before.
func TestNorthdSurvivesRestart(t *testing.T) {
	needPrograms(t, "ovn-nbctl", "ovn-northd", "ovsdb-server", "ovsdb-tool", "ovn-sbctl")
	cfg := Config{Northd: true, DB: filepath.Join(t.TempDir(), "nb.db"), Listen: filepath.Join(t.TempDir(), "nb.sock")}
	_, stop := startWith(t, cfg)
	sb := startNorthd(t, cfg.Listen)
	const route = "--policy=src-ip --ecmp-symmetric-reply lr-route-add GR_worker-1 10.131.1.%d 10.144.100.%d rtoe-GR_worker-1"
	nbctl(t, cfg.Listen, "lr-add GR_worker-1 -- lrp-add GR_worker-1 rtoe-GR_worker-1 0a:58:0a:90:64:0b 10.144.100.11/24 -- set Logical_Router GR_worker-1 options:chassis=w1")
	nbctl(t, cfg.Listen, "--wait=sb "+fmt.Sprintf(route, 100, 16))
	if flows(t, sb, "10.131.1.100") == 0 {
		t.Error("the first route made no flow")
	}
	for i := range 3 {
		stop()
		_, stop = startWith(t, cfg)
		pod := 101 + i
		nbctl(t, cfg.Listen, "--wait=sb "+fmt.Sprintf(route, pod, 17))
		for n := 100; n <= pod; n++ {
			if flows(t, sb, fmt.Sprintf("10.131.1.%d", n)) == 0 {
				t.Errorf("after restart %d no flow has 10.131.1.%d", i, n)
			}
		}
	}
	nbctl(t, cfg.Listen, "--wait=sb lr-del GR_worker-1")
	waitFor(t, func() error {
		if n := flows(t, sb, "10.131.1."); n > 0 {
			return errors.New("flows of a deleted router are left")
		}
		return nil
	})
}
