package ovn

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/ovn/debs"
	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/topo"
)

// TestKeepLooksOn: a node goes on looking after more changes of interfaces, during one look, than there is room for.
func TestKeepLooksOn(t *testing.T) {
	netns := fmt.Sprintf("ovn-test-%d", os.Getpid())
	roottest.Netns(t, netns)
	roottest.Run(t, "ip -n "+netns+" link add eth0 type veth peer name eth1")
	dir := t.TempDir()
	calls, goOn := filepath.Join(dir, "calls"), filepath.Join(dir, "go-on")
	script := fmt.Sprintf("#!/bin/sh\necho >> %s\nuntil [ -e %s ]; do sleep 0.01; done\nexit 1\n", calls, goOn)
	if err := os.MkdirAll(debs.Bin(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(debs.Bin(dir), "ovs-vsctl"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	n := &node{cfg: NodeConfig{Node: "n", Dir: dir, Programs: Programs{Root: dir}}, log: ctl.NewLog("n")}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- topo.Do(netns, func() error { return n.keep(ctx) }) }()
	called := func(least int) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
			text, err := os.ReadFile(calls)
			if err == nil && bytes.Count(text, []byte("\n")) >= least {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("it called ovs-vsctl %d times, want %d: %v", bytes.Count(text, []byte("\n")), least, err)
			}
		}
	}
	called(1)
	err := topo.Do(netns, func() error {
		l, err := netlink.LinkByName("eth0")
		for i := 0; i < 1000 && err == nil; i++ {
			err = netlink.LinkSetMTU(l, 1400+i%2)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(goOn, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	called(20)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
