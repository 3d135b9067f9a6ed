package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/roottest"
)

// bed is a TMM between an upstream router (which is the client, too) and a node with a pod.
type bed struct {
	tmm, router, node      *space
	dir, pins              string
	socket, routerSocket   string
	proxy                  *exec.Cmd
	internalMAC, externMAC string
}

func newBed(t *testing.T) *bed {
	t.Helper()
	return newBedOn(t, 0)
}

// newBedOn puts the external segment on an 802.1Q tag; 0 is untagged.
func newBedOn(t *testing.T, tag int) *bed {
	t.Helper()
	roottest.Need(t)
	b := &bed{dir: t.TempDir(), tmm: newSpace(t)}
	b.pins = filepath.Join(os.Getenv("BPFFS"), "tmm")
	b.socket, b.routerSocket = filepath.Join(t.TempDir(), "tmm.sock"), filepath.Join(t.TempDir(), "router.sock")
	b.router, b.node = newSpace(t), newSpace(t)
	cable(t, b.node, "ens192", b.tmm, "net1")
	cable(t, b.router, "eth0", b.tmm, "net2")
	b.node.address(t, "ens192", "10.144.100.11/24", "fd00:10:144:100::11/64")
	b.node.address(t, "lo", "10.131.1.100/32", "fd01:0:0:1::100/128")
	external := "eth0"
	if tag != 0 {
		external = b.router.vlan(t, "eth0", tag)
	}
	b.router.address(t, external, "198.51.100.1/24", "2001:db8:51::1/64")
	b.internalMAC = b.tmm.link(t, "net1").Attrs().HardwareAddr.String()
	b.externMAC = b.tmm.link(t, "net2").Attrs().HardwareAddr.String()
	cfg, err := json.Marshal(bgp.RouterConfig{Name: "upstream", ASN: 65000, RouterID: netip.MustParseAddr("198.51.100.1"), Ranges: []bgp.PeerRange{
		{Prefix: netip.MustParsePrefix("198.51.100.0/24"), ASN: 65001}, {Prefix: netip.MustParsePrefix("2001:db8:51::/64"), ASN: 65001},
	}})
	if err != nil {
		t.Fatal(err)
	}
	b.router.process(t, "router", b.routerSocket, string(cfg))
	b.node.process(t, "echo", ":8080")
	eventually(t, "the pod serves", func() error {
		c, err := b.node.dial("10.131.1.100:8080")
		if err != nil {
			return err
		}
		return c.Close()
	})
	return b
}

// manifests writes the control package's example with the MACs that there are.
func (b *bed) manifests(t *testing.T, replace ...string) {
	t.Helper()
	data, err := os.ReadFile("../../dataplane/control/testdata/base.yaml")
	if err != nil {
		t.Fatal(err)
	}
	replace = append([]string{"02:00:00:00:00:01", b.internalMAC, "02:00:00:00:00:02", b.externMAC}, replace...)
	for i := 0; i < len(replace); i += 2 {
		if !bytes.Contains(data, []byte(replace[i])) {
			t.Fatalf("%q is not there to be replaced", replace[i])
		}
		data = bytes.Replace(data, []byte(replace[i]), []byte(replace[i+1]), 1)
	}
	tmp := filepath.Join(b.dir, ".tmp-all")
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(b.dir, "all.yaml")); err != nil {
		t.Fatal(err)
	}
}

func (b *bed) start(t *testing.T) {
	t.Helper()
	b.proxy = b.tmm.process(t, "spkproxy", "--manifests", b.dir, "--pod", "default/f5-tmm-1", "--pins", b.pins, "--ctl", b.socket)
	eventually(t, "spkproxy is ready", func() error { return ctl.Get(t.Context(), b.socket, ctl.PathReady, nil) })
}

func (b *bed) status(t *testing.T) control.Status {
	t.Helper()
	var st control.Status
	if err := ctl.Get(t.Context(), b.socket, ctl.PathState, &st); err != nil {
		t.Fatal(err)
	}
	return st
}

// learned waits until the router's routes are these.
func (b *bed) learned(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, "the router's routes", func() error {
		var st bgp.RouterState
		if err := ctl.Get(t.Context(), b.routerSocket, ctl.PathState, &st); err != nil {
			return err
		}
		var got []string
		for _, r := range st.Routes {
			got = append(got, fmt.Sprintf("%s %s", r.Prefix, r.NextHops))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
}

// order checks the events about one address.
func (b *bed) order(t *testing.T, object string, want ...string) {
	t.Helper()
	var events []ctl.Event
	if err := ctl.Get(t.Context(), b.socket, ctl.PathEvents, &events); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range events {
		if e.Object == object {
			got = append(got, e.Kind)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events about %s (-want +got):\n%s", object, diff)
	}
}
