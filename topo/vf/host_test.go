package vf

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const (
	pfAddress = "0000:01:00.0"
	vfAddress = "0000:01:10.2"
)

// tree makes a sysfs with a PF that has two VFs, and a card that has none.
func tree(t *testing.T) string {
	t.Helper()
	sys := t.TempDir()
	devices := filepath.Join(sys, "bus/pci/devices")
	for _, dir := range []string{pfAddress + "/net/ens1", pfAddress + "/net/ens1_vf1", "0000:01:10.0/net/ens1v0", vfAddress + "/net/ens1v1", "0000:02:00.0"} {
		if err := os.MkdirAll(filepath.Join(devices, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{
		pfAddress + "/virtfn0": "../0000:01:10.0", pfAddress + "/virtfn1": "../" + vfAddress,
		"0000:01:10.0/physfn": "../" + pfAddress, vfAddress + "/physfn": "../" + pfAddress,
		vfAddress + "/driver": "../../drivers/igbvf", "0000:01:10.0/driver": "../../drivers/vfio-pci",
	} {
		if err := os.Symlink(to, filepath.Join(devices, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(devices, pfAddress, "net/ens1_vf1/phys_port_name"), []byte("pf0vf1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return sys
}

func TestFind(t *testing.T) {
	h := Host{Sys: tree(t)}
	for address, want := range map[string]struct {
		function Function
		err      error
		text     string
	}{
		vfAddress:      {function: Function{Address: vfAddress, PF: pfAddress, Index: 1}},
		pfAddress:      {err: ErrNoVF, text: "0000:01:00.0: no virtual function: the device has no physfn"},
		"0000:02:00.0": {err: ErrNoVF, text: "0000:02:00.0: no virtual function: the device has no physfn"},
		"0000:03:00.0": {err: ErrAbsent, text: "0000:03:00.0: no virtual function: no such device"},
		"ens1v1":       {err: ErrNoVF, text: `"ens1v1": no virtual function: a PCI address reads like 0000:01:10.0`},
		"../../etc":    {err: ErrNoVF, text: `"../../etc": no virtual function: a PCI address reads like 0000:01:10.0`},
	} {
		t.Run(address, func(t *testing.T) {
			got, err := h.Find(address)
			if !errors.Is(err, want.err) || err != nil && err.Error() != want.text {
				t.Fatalf("error %v, want %s", err, want.text)
			}
			if got != want.function {
				t.Errorf("%+v, want %+v", got, want.function)
			}
		})
	}
	if name, err := h.Interface(pfAddress); name != "ens1" || err != nil {
		t.Errorf("interface of the PF is %q (%v), want ens1: the other one is a VF's representor", name, err)
	}
}

// fresh is a VF that nobody has touched.
func fresh() State {
	return State{
		Admin: Admin{Proto: Proto8021Q, MAC: noMAC, SpoofChk: true},
		Link:  Link{Name: "ens1v1", MAC: "5e:00:00:00:00:01", MTU: 1500},
	}
}

// used is a VF that its administrator has set up.
func used() State {
	s := fresh()
	s.Admin.VLAN, s.Admin.QoS, s.Admin.MaxTxRate, s.Admin.MAC, s.Admin.LinkState = 30, 2, 100, "02:00:00:00:00:77", 1
	s.Link.MAC, s.Link.MTU, s.Link.Up, s.Link.AllMulti = "02:00:00:00:00:77", 9000, true, true
	return s
}

func pointer(v int) *int { return &v }

func everything() Settings {
	return Settings{VLAN: pointer(100), QoS: 3, MinTxRate: pointer(10), MaxTxRate: pointer(200), SpoofChk: "off", Trust: "on",
		LinkState: "enable", MAC: "02:AA:bb:cc:00:10", MTU: 4000}
}

// host is one with a card, whose records a test may read.
func host(t *testing.T, c *card) Host {
	t.Helper()
	return Host{Sys: tree(t), Dir: filepath.Join(t.TempDir(), "vf"), open: func(Host, Record) (device, error) { return c, nil }}
}

func request(s Settings) Request {
	return Request{Address: vfAddress, Netns: "spk-x-f5-tmm-1", Interface: "net1", Settings: s}
}

func TestAdd(t *testing.T) {
	for _, tc := range []struct {
		name   string
		prior  State
		set    Settings
		plain  bool
		orders string
	}{
		{name: "nothing set", prior: fresh(), orders: "up, take, name, give, up"},
		{name: "everything in its order", prior: fresh(), set: everything(), plain: true,
			orders: "vlan 100 qos 3 proto 802.1q, mac 02:aa:bb:cc:00:10, rate min 10 max 200 Mbit/s, spoofchk off, trust on, link_state enable, " +
				"up, mac, mtu, take, name, give, up"},
		{name: "igbvf reads the MAC as it comes up", prior: fresh(), set: Settings{MAC: "02:00:00:00:00:05"},
			orders: "mac 02:00:00:00:00:05, up, mac, up, up, take, name, give, up"},
		{name: "igbvf, trusted", prior: fresh(), set: Settings{MAC: "02:00:00:00:00:05", Trust: "on"},
			orders: "mac 02:00:00:00:00:05, trust on, up, mac, take, name, give, up"},
		{name: "a tag of the provider's", prior: fresh(), set: Settings{VLAN: pointer(7), Proto: Proto8021AD},
			orders: "vlan 7 qos 0 proto 802.1ad, up, take, name, give, up"},
		{name: "vlan 0 takes the tag off", prior: used(), set: Settings{VLAN: pointer(0)},
			orders: "vlan 0 qos 0 proto 802.1q, up, take, name, give, up"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &card{state: tc.prior, plain: tc.plain}
			h := host(t, c)
			got, err := h.Add(t.Context(), request(tc.set))
			if err != nil {
				t.Fatal(err)
			}
			if orders := strings.Join(c.orders, ", "); orders != tc.orders {
				t.Errorf("orders\n%s\nwant\n%s", orders, tc.orders)
			}
			if err := h.Check(vfAddress); err != nil {
				t.Errorf("check: %v", err)
			}
			if want := (Result{Function: Function{vfAddress, pfAddress, 1}, MAC: c.state.Link.MAC, MTU: c.state.Link.MTU}); got != want {
				t.Errorf("result %+v, want %+v", got, want)
			}
			if err := h.Del(t.Context(), vfAddress); err != nil {
				t.Fatal(err)
			}
			restored(t, h, c, tc.prior)
		})
	}
}

// restored asks that a VF is as it was and that nobody remembers.
func restored(t *testing.T, h Host, c *card, prior State) {
	t.Helper()
	if diff := cmp.Diff(prior, c.state); diff != "" || c.place != "" {
		t.Errorf("the VF is not what it was, in %q (-want +got):\n%s", c.place, diff)
	}
	if left, err := h.Records(); len(left) != 0 || err != nil {
		t.Errorf("records left: %v (%v)", left, err)
	}
}

// TestKill kills an Add, and then a Del, at every change that they make: the next Del restores the VF.
func TestKill(t *testing.T) {
	kills := 0
	for name, prior := range map[string]State{"fresh": fresh(), "used": used()} {
		for _, set := range []Settings{{}, everything(), {MAC: "02:00:00:00:00:05", Trust: "off"}, {MAC: "02:00:00:00:00:05"}} {
			for _, gone := range []bool{false, true} { // the pod's namespace, too
				for add := 0; ; add++ {
					c := &card{state: prior, kill: add}
					h := host(t, c)
					if !dies(c, func() { _, _ = h.Add(context.Background(), request(set)) }) && add > 0 {
						break
					}
					for del := 1; ; del++ {
						if gone && c.place == "target" {
							c.place = ""
						}
						c.kill = del
						var err error
						kills++
						if !dies(c, func() { err = h.Del(context.Background(), vfAddress) }) {
							if err != nil {
								t.Fatalf("%s, %s: Add killed at %d: %v", name, set, add, err)
							}
							break
						}
					}
					restored(t, h, c, prior)
					if t.Failed() {
						t.Fatalf("%s, %s: Add killed at %d", name, set, add)
					}
				}
			}
		}
	}
	t.Logf("%d kills", kills)
}

// dies says whether f was killed.
func dies(c *card, f func()) (died bool) {
	defer func() {
		c.survive()
		if r := recover(); r != nil {
			if _, ok := r.(killed); !ok {
				panic(r)
			}
			died = true
		}
	}()
	f()
	return false
}

func TestAddRefuses(t *testing.T) {
	t.Run("what is allocated", func(t *testing.T) {
		c := &card{state: fresh()}
		h := host(t, c)
		if _, err := h.Add(t.Context(), request(Settings{})); err != nil {
			t.Fatal(err)
		}
		before := c.state
		_, err := h.Add(t.Context(), request(Settings{VLAN: pointer(5)}))
		if want := "add VF 0000:01:10.2: is allocated to net1 in spk-x-f5-tmm-1"; !errors.Is(err, ErrAllocated) || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
		if diff := cmp.Diff(before, c.state); diff != "" {
			t.Errorf("the VF changed:\n%s", diff)
		}
	})
	t.Run("an interface that is elsewhere", func(t *testing.T) {
		s := fresh()
		s.Link = Link{}
		c := &card{state: s}
		_, err := host(t, c).Add(t.Context(), request(Settings{}))
		if !errors.Is(err, ErrAllocated) || len(c.orders) > 0 {
			t.Errorf("error %v after %v", err, c.orders)
		}
	})
	t.Run("a PF", func(t *testing.T) {
		q := request(Settings{})
		q.Address = pfAddress
		if _, err := host(t, &card{}).Add(t.Context(), q); !errors.Is(err, ErrNoVF) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("what the driver cannot, and takes the rest back", func(t *testing.T) {
		c := &card{state: used(), rates: unix.EOPNOTSUPP}
		h := host(t, c)
		_, err := h.Add(t.Context(), request(Settings{VLAN: pointer(9), MaxTxRate: pointer(50)}))
		want := "add VF 0000:01:10.2: set rate to min 0 max 50 Mbit/s: operation not supported"
		if err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
		restored(t, h, c, used())
	})
}

// TestAddUserspace leaves a VF under vfio-pci where it is.
func TestAddUserspace(t *testing.T) {
	prior := fresh()
	prior.Link = Link{}
	c := &card{state: prior}
	h := host(t, c)
	q := request(Settings{VLAN: pointer(20), MAC: "02:00:00:00:00:05"})
	q.Address = "0000:01:10.0"
	got, err := h.Add(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if orders := strings.Join(c.orders, ", "); orders != "vlan 20 qos 0 proto 802.1q, mac 02:00:00:00:00:05" || got.MAC != "02:00:00:00:00:05" {
		t.Errorf("orders %s, result %+v", orders, got)
	}
	if err := errors.Join(h.Check(q.Address), h.Del(t.Context(), q.Address)); err != nil {
		t.Error(err)
	}
	restored(t, h, c, prior)
}

// TestUnplugged takes the driver away from under a VF that was given: it is not present, Del has the kernel look for
// a driver and restores the MAC that it came with, and it can be given again.
func TestUnplugged(t *testing.T) {
	for name, s := range map[string]Settings{"nothing set": {}, "everything set": everything()} {
		t.Run(name, func(t *testing.T) {
			c := &card{state: fresh()}
			h := host(t, c)
			probe := filepath.Join(h.Sys, "bus/pci/drivers_probe")
			if err := os.WriteFile(probe, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			first, err := h.Add(t.Context(), request(s))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(h.Sys, "bus/pci/devices", vfAddress, "driver")); err != nil {
				t.Fatal(err)
			}
			back := fresh().Link
			back.Name, back.MAC = "eth7", "5e:00:00:00:00:99"
			c.state.Link, c.place = back, ""
			if h.Present(vfAddress) {
				t.Error("it is present")
			}
			if err := h.Del(t.Context(), vfAddress); err != nil {
				t.Fatal(err)
			}
			if asked, err := os.ReadFile(probe); err != nil || string(asked) != vfAddress {
				t.Errorf("the kernel was asked for a driver of %q (%v)", asked, err)
			}
			restored(t, h, c, fresh())
			again, err := h.Add(t.Context(), request(s))
			if err != nil || again != first || !h.Present(vfAddress) {
				t.Errorf("given again it is %+v (%v), was %+v", again, err, first)
			}
		})
	}
}

// TestRecord has what was there on disk before the first change.
func TestRecord(t *testing.T) {
	c := &card{state: used(), kill: 1}
	h := host(t, c)
	if !dies(c, func() { _, _ = h.Add(context.Background(), request(everything())) }) {
		t.Fatal("nobody was killed")
	}
	records, err := h.Records()
	if err != nil {
		t.Fatal(err)
	}
	want := []Record{{Function: Function{vfAddress, pfAddress, 1}, Request: request(everything()), Prior: used()}}
	if diff := cmp.Diff(want, records); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(used(), c.state); diff != "" {
		t.Errorf("the VF changed before it was written down:\n%s", diff)
	}
}

func TestCheck(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(*State)
		want  string
	}{
		"vlan":      {func(s *State) { s.Admin.VLAN = 0 }, "vlan is 0 qos 3 proto 802.1q, want 100 qos 3 proto 802.1q"},
		"trust":     {func(s *State) { s.Admin.Trust = false }, "trust is off, want on"},
		"down":      {func(s *State) { s.Link.Up = false }, "up is false, want true"},
		"name":      {func(s *State) { s.Link.Name = "net2" }, "interface is net2, want net1"},
		"mtu":       {func(s *State) { s.Link.MTU = 1500 }, "MTU is 1500, want 4000"},
		"own MAC":   {func(s *State) { s.Link.MAC = noMAC }, "MAC of the interface is 00:00:00:00:00:00, want 02:aa:bb:cc:00:10"},
		"admin MAC": {func(s *State) { s.Admin.MAC = noMAC }, "mac is 00:00:00:00:00:00, want 02:aa:bb:cc:00:10"},
	} {
		t.Run(name, func(t *testing.T) {
			c := &card{state: fresh()}
			h := host(t, c)
			if _, err := h.Add(t.Context(), request(everything())); err != nil {
				t.Fatal(err)
			}
			tc.spoil(&c.state)
			err := h.Check(vfAddress)
			if want := fmt.Sprintf("check VF %s: %s: %v", vfAddress, tc.want, errDiffers); err == nil || err.Error() != want {
				t.Errorf("error %v, want %s", err, want)
			}
		})
	}
}

// TestDelAbsent: what has no record or no device any more is taken back.
func TestDelAbsent(t *testing.T) {
	c := &card{state: fresh()}
	h := host(t, c)
	if err := h.Del(t.Context(), vfAddress); err != nil || len(c.orders) > 0 {
		t.Errorf("without a record: %v after %v", err, c.orders)
	}
	if _, err := h.Add(t.Context(), request(Settings{})); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(h.Sys, "bus/pci/devices", vfAddress)); err != nil {
		t.Fatal(err)
	}
	if err := h.Del(t.Context(), vfAddress); err != nil {
		t.Errorf("without a device: %v", err)
	}
	if left, err := h.Records(); len(left) > 0 || err != nil {
		t.Errorf("records left: %v (%v)", left, err)
	}
}

// TestLock has one Host wait for another one of the same machine.
func TestLock(t *testing.T) {
	h := host(t, &card{state: fresh()})
	unlock, err := h.lock(t.Context(), vfAddress)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	other := h
	other.Dir = t.TempDir()
	if _, err := other.Add(ctx, request(Settings{})); !errors.Is(err, context.Canceled) {
		t.Errorf("while somebody works on the VF: %v", err)
	}
	unlock()
	if _, err := other.Add(t.Context(), request(Settings{})); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestRemade takes a VF away for good, as all go when somebody writes 0 to sriov_numvfs: the one that is made in its
// place gets its MAC, also the second time, but keeps one that the settings or its PF say.
func TestRemade(t *testing.T) {
	const first, second = "5e:00:00:00:00:01", "5e:00:00:00:00:99"
	pinned := fresh()
	pinned.Admin.MAC = second
	for name, tc := range map[string]struct {
		made State // how the second one comes
		set  Settings
		want string // MAC in the end
	}{
		"nothing set":       {fresh(), Settings{}, first},
		"trusted":           {fresh(), Settings{Trust: "on"}, first},
		"a MAC set":         {fresh(), Settings{MAC: "02:00:00:00:00:05"}, "02:00:00:00:00:05"},
		"the PF has pinned": {pinned, Settings{}, second},
	} {
		t.Run(name, func(t *testing.T) {
			c := &card{state: fresh()}
			h := host(t, c)
			if lost, err := h.LostMAC(vfAddress); lost != "" || err != nil {
				t.Errorf("before it was given: %q, %v", lost, err)
			}
			if _, err := h.Add(t.Context(), request(tc.set)); err != nil {
				t.Fatal(err)
			}
			if lost, err := h.LostMAC(vfAddress); lost != "" || err != nil {
				t.Errorf("while it is there: %q, %v", lost, err)
			}
			for range 2 {
				back := tc.made
				back.Link.Name, back.Link.MAC = "eth7", second
				q := request(tc.set)
				q.LastMAC = remade(t, h)
				c.state, c.place = back, ""
				got, err := h.Add(t.Context(), q)
				if err != nil || got.MAC != tc.want || c.state.Link.MAC != tc.want || !h.Present(vfAddress) {
					t.Errorf("it is %+v (%v), want MAC %s", got, err, tc.want)
				}
			}
		})
	}
}

// remade has the VF vanish and come back, and returns the MAC that is known in between.
func remade(t *testing.T, h Host) string {
	t.Helper()
	device := filepath.Join(h.Sys, "bus/pci/devices", vfAddress)
	away := filepath.Join(h.Sys, "away")
	if err := os.Rename(device, away); err != nil {
		t.Fatal(err)
	}
	if h.Present(vfAddress) {
		t.Error("it is present")
	}
	lost, err := h.LostMAC(vfAddress)
	if err := errors.Join(err, h.Del(t.Context(), vfAddress), os.Rename(away, device)); err != nil {
		t.Fatal(err)
	}
	return lost
}

// TestRemadeUserspace: a VF that was under vfio-pci and is made anew is not the one that was given.
func TestRemadeUserspace(t *testing.T) {
	s := fresh()
	s.Link = Link{}
	h := host(t, &card{state: s})
	q := request(Settings{VLAN: pointer(20)})
	q.Address = "0000:01:10.0"
	if _, err := h.Add(t.Context(), q); err != nil || !h.Present(q.Address) {
		t.Fatalf("%v, or not present", err)
	}
	driver := filepath.Join(h.Sys, "bus/pci/devices", q.Address, "driver")
	if err := errors.Join(os.Remove(driver), os.Symlink("../../drivers/igbvf", driver)); err != nil {
		t.Fatal(err)
	}
	if h.Present(q.Address) {
		t.Error("it is present under the kernel's own driver")
	}
}
