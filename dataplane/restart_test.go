package dataplane

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bpf"
)

// TestOtherLayout: what a version with another layout pinned is replaced, in one step on every
// interface, and how many connections went with it is said.
func TestOtherLayout(t *testing.T) {
	n := newNetwork(t)
	n.config.PinDir = filepath.Join(bpffs(t), "tmm")
	n.config.Log = ctl.NewLog("test")
	n.config.MaxConnections = 1000
	d := n.open(t)
	applied(t, d, labState())
	fill4(t, &rig{d: d}, 1000)
	must(t, d.Close())
	former := filepath.Join(n.config.PinDir, "v1")
	must(t, os.Rename(filepath.Join(n.config.PinDir, fmt.Sprintf("v%d", bpf.Layout)), former))

	d = n.open(t)
	got, err := d.Read()
	must(t, err)
	if diff := cmp.Diff(State{}.Canonical(), got, equateNetip); diff != "" || n.attached(t) != 2 {
		t.Errorf("%d programs attached; state (-want +got):\n%s", n.attached(t), diff)
	}
	var said []string
	for _, e := range n.config.Log.Events() {
		if e.Kind == "pins-replaced" {
			said = append(said, e.Object+": "+e.Detail)
		}
	}
	want := []string{fmt.Sprintf("%s: layout %d is another one: 1000 connections of the former version are lost", former, bpf.Layout)}
	if diff := cmp.Diff(want, said); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	must(t, d.Remove())
	mustBeEmpty(t, n.config.PinDir)
}

// TestForwardingRestored: loopback's forwarding is as it was once the last process has removed
// the dataplane, however many there were.
func TestForwardingRestored(t *testing.T) {
	for _, before := range []string{"0", "1"} {
		t.Run(before, func(t *testing.T) {
			n := newNetwork(t)
			n.config.PinDir = filepath.Join(bpffs(t), "tmm")
			for _, family := range forwardingFamilies() {
				n.tmm.do(t, func() error {
					return os.WriteFile("/proc/sys/net/"+family+"/conf/lo/forwarding", []byte(before), 0)
				})
			}
			d := n.open(t)
			n.loopbackForwards(t, "1")
			must(t, d.Close())
			d = n.open(t)
			must(t, d.Remove()) // not in the namespace
			n.loopbackForwards(t, before)
		})
	}
}

func (n *network) loopbackForwards(t *testing.T, want string) {
	t.Helper()
	for _, family := range forwardingFamilies() {
		var got []byte
		n.tmm.do(t, func() error {
			var err error
			got, err = os.ReadFile("/proc/sys/net/" + family + "/conf/lo/forwarding")
			return err
		})
		if strings.TrimSpace(string(got)) != want {
			t.Errorf("%s: forwarding %q, want %s", family, got, want)
		}
	}
}
