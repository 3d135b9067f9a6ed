package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/roottest"
)

// frontends are those of two TMMs, one of which gives no answer, with an interface of each kind.
func frontends() *lab.Inspection {
	attached := []dataplane.AttachedProgram{{At: dataplane.FrontendTCX, Role: "ingress", ID: 7}}
	return &lab.Inspection{
		Nodes:  []lab.Node{{Name: "client", Kind: lab.KindClient}, {Name: "f5-tmm-1", Kind: lab.KindTMM}, {Name: "f5-tmm-2", Kind: lab.KindTMM}},
		Silent: map[string]string{"f5-tmm-2": "connection refused", "client": "has no proxy"},
		TMMs: []control.Status{{Pod: "default/f5-tmm-1", Frontends: []dataplane.FrontendStatus{
			{
				Number: "1.1", Name: "net1", Wanted: dataplane.FrontendAuto, Kind: "veth", Driver: "veth", MTU: 1500,
				Choice:      dataplane.Choice{Frontend: dataplane.FrontendTCX, Traffic: dataplane.FrontendTCX, Why: "veth: segments stay offloaded"},
				XDPFeatures: []string{"basic", "redirect"}, FeaturesKnown: true, ToPeer: true, Programs: attached,
			},
			{
				Number: "1.2", Name: "net2", Wanted: dataplane.FrontendXDP, Kind: "device", Driver: "mlx5_core", MTU: 9000,
				Choice: dataplane.Choice{Frontend: dataplane.FrontendXDP, Traffic: dataplane.FrontendTCX, Why: "configured"},
				Programs: []dataplane.AttachedProgram{
					{At: dataplane.FrontendTCX, Role: "ingress", ID: 8}, {At: dataplane.FrontendXDP, Role: "ingress"},
				},
			},
			{
				Number: "1.2.100", Name: "net2.100", Wanted: dataplane.FrontendAuto, Kind: "vlan", Tags: dataplane.Tags8021Q, MTU: 9000, FeaturesKnown: true, Programs: attached,
				Choice: dataplane.Choice{Frontend: dataplane.FrontendTCX, Traffic: dataplane.FrontendTCX, Why: "vlan is no hardware: XDP would gain nothing"},
			},
			{
				Name: "net3", Wanted: dataplane.FrontendAuto, Kind: "macvlan", MTU: 1400, FeaturesKnown: true, Programs: attached,
				Choice: dataplane.Choice{Frontend: dataplane.FrontendClsact, Traffic: dataplane.FrontendClsact, Why: "the kernel has no tcx"},
			},
		}}},
	}
}

func TestShowFrontends(t *testing.T) {
	var got bytes.Buffer
	showFrontends(&got, frontends())
	golden(t, "frontends.txt", got.Bytes())
}

// golden compares with a file in testdata, which -update rewrites.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("-update rewrites it (-want +got):\n%s", diff)
	}
}

// TestTryFrontends: every front end is there, and nothing of the trial stays but the namespace.
func TestTryFrontends(t *testing.T) {
	roottest.Need(t)
	done := make(chan []finding)
	go func() {
		runtime.LockOSThread() // never unlocked: the namespace ends with the thread
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- []finding{{Name: "namespace", Detail: err.Error()}}
			return
		}
		done <- append(tryFrontends(), tryFrontends()...) // twice: the first one has cleaned up
	}()
	var names []string
	for _, f := range <-done {
		names = append(names, f.Name)
		if !f.OK {
			t.Errorf("%s: %s", f.Name, f.Detail)
		}
	}
	if diff := cmp.Diff([]string{"tcx", "clsact", "xdp", "xdp-generic", "tcx", "clsact", "xdp", "xdp-generic"}, names); diff != "" {
		t.Error(diff)
	}
}
