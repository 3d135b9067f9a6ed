package sriov

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree makes a /sys: TARGET behind "->" is a symbolic link, anything else a file's content.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		target, link := strings.CutPrefix(content, "-> ")
		if link {
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(content+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func igb() map[string]string {
	const pf, vf0, vf1 = "bus/pci/devices/0000:01:00.0/", "bus/pci/devices/0000:01:10.0/", "bus/pci/devices/0000:01:10.2/"
	return map[string]string{
		"class/dmi/id/sys_vendor":             "QEMU",
		"class/iommu/dmar0/name":              "x",
		pf + "sriov_totalvfs":                 "7",
		pf + "sriov_numvfs":                   "2",
		pf + "sriov_offset":                   "128",
		pf + "sriov_stride":                   "2",
		pf + "vendor":                         "0x8086",
		pf + "device":                         "0x10c9",
		pf + "driver":                         "-> ../../drivers/igb",
		pf + "net/ens1f0/mtu":                 "9000",
		pf + "net/ens1f0/operstate":           "up",
		pf + "net/ens1f0/type":                "1",
		pf + "virtfn0":                        "-> ../0000:01:10.0",
		pf + "virtfn1":                        "-> ../0000:01:10.2",
		vf0 + "driver":                        "-> ../../drivers/igbvf",
		vf0 + "driver_override":               "(null)",
		vf0 + "iommu_group":                   "-> ../../kernel/iommu_groups/7",
		vf0 + "net/ens1f0v0/mtu":              "1500",
		vf1 + "driver":                        "-> ../../drivers/vfio-pci",
		vf1 + "driver_override":               "vfio-pci",
		vf1 + "iommu_group":                   "-> ../../kernel/iommu_groups/8",
		"bus/pci/devices/0000:00:1f.2/vendor": "0x8086",
	}
}

func TestRead(t *testing.T) {
	n := Network{
		Links: []Link{
			{Index: 2, Name: "ens1f0", Up: true, Firmware: "3.25", VFs: map[int]Admin{1: {VLAN: 30}}},
			{Index: 3, Name: "ens1f0v0", Up: true},
		},
		Groups: map[string]bool{"8": true}, ESwitch: map[string]string{"0000:01:00.0": "legacy"},
	}
	got, err := Read(tree(t, igb()), n)
	if err != nil {
		t.Fatal(err)
	}
	want := Inventory{Platform: "QEMU", IOMMU: true, PFs: []PF{{
		Address: "0000:01:00.0", Name: "ens1f0", Vendor: "8086", Device: "10c9", Driver: "igb", Firmware: "3.25",
		MTU: 9000, Up: true, Link: "up", LinkType: "ETH", ESwitchMode: "legacy", TotalVFs: 7, NumVFs: 2, Offset: 128, Stride: 2,
		VFs: []VF{
			{Index: 0, Address: "0000:01:10.0", Name: "ens1f0v0", Driver: "igbvf", MTU: 1500, Up: true, Group: "7"},
			{Index: 1, Address: "0000:01:10.2", Driver: "vfio-pci", Override: "vfio-pci", Group: "8",
				Admin: &Admin{VLAN: 30}, Used: "a program has its IOMMU group 8 open"},
		},
	}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got.Find("ens1f0") != &got.PFs[0] || got.Find("0000:01:00.0") != &got.PFs[0] || got.Find("ens2") != nil || got.Find("") != nil {
		t.Error("Find")
	}
}

func TestVFAddress(t *testing.T) {
	tests := []struct {
		pf             string
		offset, stride int
		vf             int
		want           string
	}{
		{"0000:01:00.0", 128, 2, 0, "0000:01:10.0"}, // Intel 82576
		{"0000:01:00.0", 128, 2, 5, "0000:01:11.2"},
		{"0000:3b:00.1", 15, 1, 0, "0000:3b:02.0"}, // Intel 700
		{"0000:3b:00.1", 15, 1, 63, "0000:3b:09.7"},
	}
	for _, tt := range tests {
		p := PF{Address: tt.pf, Offset: tt.offset, Stride: tt.stride}
		if got, err := p.VFAddress(tt.vf); err != nil || got != tt.want {
			t.Errorf("VF %d of %s: %s, %v, want %s", tt.vf, tt.pf, got, err, tt.want)
		}
	}
	if _, err := (&PF{Address: "0000:01:00.0"}).VFAddress(0); err == nil {
		t.Error("an address without an offset")
	}
}

func TestProtected(t *testing.T) {
	addr := netip.MustParseAddr
	pf := PF{Name: "ens1f0", VFs: []VF{{Name: "ens1f0v0"}}}
	base := []Link{{Index: 2, Name: "ens1f0"}, {Index: 3, Name: "ens1f0v0"}, {Index: 4, Name: "ens2"}}
	tests := []struct {
		name string
		n    Network
		want []string
	}{
		{"another interface's", Network{Links: base, Defaults: []int{4}, Sessions: []Session{{Link: 4}}}, nil},
		{"its own route", Network{Links: base, Defaults: []int{2}}, []string{"carries the default route"}},
		{"a VF's route", Network{Links: base, Defaults: []int{3}}, []string{"carries the default route by ens1f0v0"}},
		{"a bridge", Network{
			Links: []Link{{Index: 2, Name: "ens1f0", Master: 5}, {Index: 5, Name: "br0"}}, Defaults: []int{5},
		}, []string{"carries the default route by br0"}},
		{"a VLAN on a bond, under a bridge", Network{
			Links:    []Link{{Index: 2, Name: "ens1f0", Master: 5}, {Index: 5, Name: "bond0"}, {Index: 6, Name: "bond0.7", Parent: 5, Master: 7}, {Index: 7, Name: "br7"}},
			Defaults: []int{7},
		}, []string{"carries the default route by br7"}},
		{"a session by address", Network{
			Links:    []Link{{Index: 2, Name: "ens1f0", Master: 5}, {Index: 5, Name: "br0", Addresses: []netip.Addr{addr("192.0.2.1")}}},
			Sessions: []Session{{Local: addr("192.0.2.1"), Remote: addr("198.51.100.7")}},
		}, []string{"carries the SSH session from 198.51.100.7 by br0"}},
		{"a session by route", Network{
			Links: base, Sessions: []Session{{Local: addr("192.0.2.1"), Remote: addr("198.51.100.7"), Link: 2}},
		}, []string{"carries the SSH session from 198.51.100.7"}},
		{"a bridge of Open vSwitch", Network{
			Links:    []Link{{Index: 2, Name: "ens1f0", Master: 5}, {Index: 5, Name: "ovs-system", OVS: true}, {Index: 6, Name: "br-ex", OVS: true}},
			Defaults: []int{6},
		}, []string{"carries the default route by br-ex"}},
		{"a bridge of Open vSwitch beside it", Network{
			Links: []Link{{Index: 2, Name: "ens1f0"}, {Index: 5, Name: "ovs-system", OVS: true}, {Index: 6, Name: "br-ex", OVS: true}}, Defaults: []int{6},
		}, nil},
		{"a loop of masters", Network{Links: []Link{{Index: 2, Name: "ens1f0", Master: 5}, {Index: 5, Name: "br0", Master: 2}}}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.n.protected(&pf)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUse(t *testing.T) {
	n := Network{Links: []Link{
		{Index: 1, Name: "idle", Up: true, Addresses: []netip.Addr{netip.MustParseAddr("fe80::1")}},
		{Index: 2, Name: "port", Master: 9}, {Index: 3, Name: "host", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
		{Index: 4, Name: "under"}, {Index: 5, Name: "under.7", Parent: 4, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.2")}},
	}}
	tests := []struct {
		v    VF
		want string
	}{
		{VF{}, ""},
		{VF{Driver: "igbvf", Name: "idle"}, ""},
		{VF{Driver: "vfio-pci", Group: "1"}, ""},
		{VF{Driver: "igbvf"}, "its interface is in another network namespace"},
		{VF{Driver: "igbvf", Name: "port"}, "its interface port is a port of a bridge or bond"},
		{VF{Driver: "igbvf", Name: "host"}, "its interface host has an address"},
		{VF{Driver: "igbvf", Name: "under"}, "under.7 on its interface under has an address"},
	}
	for _, tt := range tests {
		if got := n.use(tt.v); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.v, got, tt.want)
		}
	}
}

func TestParseSessions(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000
   1: 0B64900A:0016 071364C6:D2F0 01 00000000:00000000 02:000A7D4E 00000000
   2: 0B64900A:01BB 071364C6:D2F1 01 00000000:00000000 02:000A7D4E 00000000
   3: B80D0120000000000000000001000000:0016 0000000000000000FFFF00000B64900A:0400 01 0 0
   4: nonsense:0016 071364C6:D2F1 01
`
	got, err := parseSessions(strings.NewReader(table))
	if err != nil {
		t.Fatal(err)
	}
	want := []Session{
		{Local: netip.MustParseAddr("10.144.100.11"), Remote: netip.MustParseAddr("198.100.19.7")},
		{Local: netip.MustParseAddr("2001:db8::1"), Remote: netip.MustParseAddr("10.144.100.11")},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	s, ok := parseSSHConnection("fe80::1%eth0 50000 10.0.0.1 22")
	if !ok || s.Local.String() != "10.0.0.1" || s.Remote.String() != "fe80::1" {
		t.Errorf("%+v, %t", s, ok)
	}
	if _, ok := parseSSHConnection("a b c"); ok {
		t.Error("no connection")
	}
}

func FuzzParseSessions(f *testing.F) {
	f.Add("   1: 0B64900A:0016 071364C6:D2F0 01 0")
	f.Fuzz(func(t *testing.T, text string) {
		sessions, err := parseSessions(strings.NewReader(text))
		for _, s := range sessions {
			if err == nil && (!s.Local.IsValid() || !s.Remote.IsValid()) {
				t.Errorf("%q: %+v", text, s)
			}
		}
	})
}

// TestReadNetwork reads this machine: it has a loopback, which carries no default route.
func TestReadNetwork(t *testing.T) {
	n, err := ReadNetwork()
	if err != nil {
		t.Fatal(err)
	}
	lo, ok := n.link("lo")
	if !ok || lo.Master != 0 || lo.Parent != 0 {
		t.Fatalf("%+v, %t", lo, ok)
	}
	if got := n.protected(&PF{Name: "lo"}); strings.Contains(strings.Join(got, " "), "default route") {
		t.Error(got)
	}
}

func TestLabels(t *testing.T) {
	emulated := Inventory{Platform: "QEMU", PFs: []PF{{Driver: "igb"}}}
	tests := []struct {
		name string
		inv  Inventory
		s    Setting
		want string
	}{
		{"anti-spoof in QEMU", emulated, SettingSpoofChk, "configured, not enforced"},
		{"rate in QEMU", emulated, SettingMaxTxRate, "configured, not enforced"},
		{"VLAN in QEMU", emulated, SettingVLAN, ""},
		{"trust in QEMU", emulated, SettingTrust, ""},
		{"a real igb", Inventory{Platform: "Supermicro", PFs: []PF{{Driver: "igb"}}}, SettingSpoofChk, ""},
		{"another card passed through", Inventory{Platform: "QEMU", PFs: []PF{{Driver: "ice"}}}, SettingSpoofChk, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.inv.Label(&tt.inv.PFs[0], tt.s); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// TestRepresentors: the interfaces that stand for a card's VFs are not the card's own.
func TestRepresentors(t *testing.T) {
	s := sysfs{t.TempDir()}
	for name, port := range map[string]string{"ens1f0_0": "pf0vf0", "ens1f0np0": "p0"} {
		dir := s.device("0000:01:00.0", filepath.Join("net", name))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "phys_port_name"), []byte(port), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.link("0000:01:00.0"); got != "ens1f0np0" {
		t.Errorf("the card's interface is %q", got)
	}
	if got := s.link("0000:02:00.0"); got != "" {
		t.Errorf("no card has %q", got)
	}
}
