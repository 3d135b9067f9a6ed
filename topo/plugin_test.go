package topo_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/spklab/spklab/cni"
)

// pluginDir is where Debian's containernetworking-plugins are.
const pluginDir = "/usr/lib/cni"

// wholeProduct has the comparison with the plugin try every combination, not each pair of values.
var wholeProduct = flag.Bool("plugin-product", false, "compare with Debian's macvlan plugin in every combination")

// masterLink is the interface that macvlans of a bed stand on, parentMTU what it carries.
const (
	masterLink = "m0"
	parentMTU  = 1500
)

// TestMacvlanEqualsPlugin attaches by Debian's macvlan plugin and by topo, to the same master, and compares
// everything that the kernel tells of the interface, its master, addresses, routes and sysctls, what is
// left after it is gone, and the results.
func TestMacvlanEqualsPlugin(t *testing.T) {
	groups := append(macvlanRequests(), runtimeRequests())
	sums := make([]tally, len(groups))
	t.Run("groups", func(t *testing.T) {
		for i, group := range groups {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				b := newBed(t, fmt.Sprintf("plugin%d", i))
				t.Parallel()
				for _, q := range group {
					t.Run(q.name, func(t *testing.T) { sums[i].sides(t, b, q.request) })
				}
				b.t = t
			})
		}
	})
	var n tally
	attachments := 0
	for i, s := range sums {
		n.equal, n.compared = n.equal+s.equal, n.compared+s.compared
		attachments += len(groups[i])
	}
	t.Logf("macvlan equals Debian's plugin: %d of %d attributes in %d attachments", n.equal, n.compared, attachments)
}

type named struct {
	name string
	request
}

// ipams are the kinds of IPAM that both sides know.
func ipams() []string {
	return []string{
		`"ipam": {}`,
		`"ipam": {"type": "host-local", "subnet": "198.51.100.0/24", "rangeStart": "198.51.100.10", "rangeEnd": "198.51.100.250", "gateway": "198.51.100.1", "routes": [{"dst": "203.0.113.0/24"}]}`,
		`"ipam": {"type": "host-local", "ranges": [[{"subnet": "198.51.100.0/24", "rangeStart": "198.51.100.10"}], [{"subnet": "2001:db8:51::/64"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0", "gw": "2001:db8:51::fe"}]}`,
		`"dns": {"nameservers": ["192.0.2.53"], "search": ["example.net"]}, "ipam": {"type": "static", "addresses": [{"address": "198.51.100.7/24", "gateway": "198.51.100.1"}, {"address": "2001:db8:51::7/64"}], "routes": [{"dst": "203.0.113.0/24"}, {"dst": "198.18.0.0/15", "gw": "198.51.100.2"}], "dns": {"nameservers": ["192.0.2.54"]}}`,
	}
}

// macvlanRequests are each mode with each MTU, MAC, IPAM and place of the master; without -plugin-product each
// mode has each of these values, and neighbors differ in several. There is a group for each mode.
func macvlanRequests() [][]named {
	var groups [][]named
	modes := []string{"", "bridge", "private", "vepa", "passthru"}
	mtus := []int{0, 1400, parentMTU}
	macs := []string{"", "02:00:00:00:02:02"}
	for _, mode := range modes {
		var out []named
		for i, ipam := range ipams() {
			for j, mtu := range mtus {
				for k, mac := range macs {
					for _, inner := range []bool{false, true} {
						if !*wholeProduct && ((i+j+k)%4 != 0 || inner != ((i+k)%2 == 0)) {
							continue
						}
						out = append(out, macvlanRequest(mode, ipam, mtu, mac, inner))
					}
				}
			}
		}
		groups = append(groups, out)
	}
	return groups
}

func macvlanRequest(mode, ipam string, mtu int, mac string, inner bool) named {
	conf := []string{`"master": "` + masterLink + `"`, ipam}
	if mode != "" {
		conf = append(conf, `"mode": "`+mode+`"`)
	}
	if mtu != 0 {
		conf = append(conf, fmt.Sprintf(`"mtu": %d`, mtu))
	}
	if mac != "" {
		conf = append(conf, `"mac": "`+mac+`"`)
	}
	return named{fmt.Sprintf("mode %q mtu %d mac %q %s inner %v", mode, mtu, mac, ipam, inner),
		request{conf: config("macvlan", conf...), inner: inner, container: "c"}}
}

// runtimeRequests are those in which the runtime has a say, and results of all versions.
func runtimeRequests() []named {
	prefix := netip.MustParsePrefix
	out := []named{
		{"default master", request{conf: config("macvlan"), container: "d"}},
		{"the runtime's MAC before the config's", request{conf: config("macvlan", `"mac": "02:00:00:00:02:02", "master": "m0"`), mac: "02:00:00:00:03:03", container: "m"}},
		{"host-local's address asked for", request{conf: config("macvlan", `"master": "m0"`, ipams()[2], `"capabilities": {"ips": true}`),
			ips: []netip.Prefix{prefix("198.51.100.77/24"), prefix("2001:db8:51::77/64")}, container: "h"}},
		{"static's addresses asked for", request{conf: config("macvlan", `"master": "m0"`, ipams()[3], `"capabilities": {"ips": true}`),
			ips: []netip.Prefix{prefix("198.51.100.78/24")}, container: "s"}},
	}
	for _, v := range []string{"", "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"} {
		conf := strings.Replace(config("macvlan", `"master": "m0"`, ipams()[3]), `"cniVersion": "1.0.0", `, map[bool]string{true: `"cniVersion": "` + v + `", `}[v != ""], 1)
		out = append(out, named{"version " + v, request{conf: conf, container: "v"}})
	}
	return out
}

var errNothing = errors.New("no error")

// TestAttachErrorsEqualPlugin asks both sides for what cannot be: both refuse, for the same reason, and
// leave nothing.
func TestAttachErrorsEqualPlugin(t *testing.T) {
	b := newBed(t, "pluginerr")
	var n tally
	cases := []struct{ name, conf, ips, why string }{
		{name: "mtu above the master's", conf: config("macvlan", `"master": "m0", "mtu": 1501`), why: "invalid MTU 1501, must be [0, master MTU(1500)]"},
		{name: "missing master", conf: config("macvlan", `"master": "m9"`), why: "Link not found"},
		{name: "bad mode", conf: config("macvlan", `"master": "m0", "mode": "routed"`), why: "unknown macvlan mode"},
		{name: "bad MAC", conf: config("macvlan", `"master": "m0", "mac": "02:00"`), why: "MAC addr"},
		{name: "unknown version", conf: strings.Replace(config("macvlan", `"master": "m0"`), "1.0.0", "7.0.0", 1), why: "incompatible CNI versions"},
		{name: "host-local without ranges", conf: config("macvlan", `"master": "m0", "ipam": {"type": "host-local"}`), why: "no IP ranges specified"},
		{name: "host-local with host bits", conf: config("macvlan", `"master": "m0", "ipam": {"type": "host-local", "subnet": "192.0.2.1/24"}`), why: "has host bits set"},
		{name: "host-local too small", conf: config("macvlan", `"master": "m0", "ipam": {"type": "host-local", "subnet": "192.0.2.0/31"}`), why: "too small to allocate from"},
		{name: "host-local overlaps", conf: config("macvlan", `"master": "m0", "ipam": {"type": "host-local", "ranges": [[{"subnet": "192.0.2.0/24"}], [{"subnet": "192.0.2.0/25"}]]}`), why: "range set 0 overlaps with 1"},
		{name: "host-local is exhausted", conf: config("macvlan", `"master": "m0", "ipam": {"type": "host-local", "subnet": "192.0.2.0/30", "rangeStart": "192.0.2.1", "rangeEnd": "192.0.2.1"}`), why: "no IP addresses available in range set: 192.0.2.1-192.0.2.1"},
		{name: "host-local's gateway asked for", ips: "198.51.100.1/24", conf: config("macvlan", `"master": "m0"`, strings.Replace(ipams()[1], "100.10\"", "100.1\"", 1)), why: "requested ip 198.51.100.1 is subnet's gateway"},
		{name: "host-local asked for what it has not", ips: "192.0.2.9/24", conf: config("macvlan", `"master": "m0"`, ipams()[1]), why: "failed to allocate all requested IPs: 192.0.2.9"},
		{name: "static without addresses", conf: config("macvlan", `"master": "m0", "ipam": {"type": "static"}`), why: "IPAM plugin returned missing IP config"},
		{name: "a default route through nowhere", conf: config("macvlan", `"master": "m0", "ipam": {"type": "static", "addresses": [{"address": "198.51.100.7/24"}], "routes": [{"dst": "203.0.113.0/24", "gw": "192.0.2.99"}]}`), why: "network is unreachable"},
		{name: "missing device", conf: config("host-device", `"device": "m9"`), why: "Link not found"},
		{name: "no device named", conf: config("host-device"), why: `"device", "hwaddr", "kernelpath" or "pciBusID"`},
		{name: "kernel path elsewhere", conf: config("host-device", `"kernelpath": "/proc/1"`), why: "must be absolute and begin with /sys/devices/"},
	}
	for i, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			b.t = t
			q := request{conf: tc.conf, container: fmt.Sprintf("e%d", i)}
			if tc.ips != "" {
				q.ips = []netip.Prefix{netip.MustParsePrefix(tc.ips)}
			}
			theirs, mine := q, q
			theirs.pod, mine.pod = "a", "b"
			want, got := b.pluginSide(theirs), b.ourSide(mine)
			for who, err := range map[string]error{"plugin": want.err, "ours": got.err} {
				if err == nil {
					err = errNothing
				}
				n.one(t, who, "true", fmt.Sprint(says(err, tc.why)))
				t.Logf("%s: %v", who, err)
			}
			n.one(t, "interface that is left", "", got.gone["link ifname"])
			n.one(t, "reservations", fmt.Sprint(owners(reserved(t, b.data))), fmt.Sprint(owners(b.store)))
		})
	}
	b.t = t
	t.Logf("errors equal those of Debian's plugins: %d of %d, in %d cases", n.equal, n.compared, len(cases))
}

// says finds the words of a reason in an error, whatever its letters' case and its quotes.
func says(err error, why string) bool {
	fold := strings.NewReplacer(`\"`, "", `"`, "", ",", "").Replace
	text, words := strings.ToLower(fold(err.Error())), strings.ToLower(fold(why))
	for _, w := range strings.Fields(words) {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// owners are the reservations without the memory of the last one.
func owners(r cni.Reservations) cni.Reservations {
	out := cni.Reservations{}
	for name, content := range r {
		if _, ok := r.OwnerOf(name); ok {
			out[name] = content
		}
	}
	return out
}

// TestHostDeviceEqualsPlugin lends a veth by Debian's plugin and by topo.
func TestHostDeviceEqualsPlugin(t *testing.T) {
	b := newBed(t, "plugindev")
	var n tally
	for i, fields := range []string{
		`"device": "m0"`, `"hwaddr": "02:00:00:00:01:00"`, `"device": "m0", ` + ipams()[1], `"device": "m0", ` + ipams()[3],
	} {
		t.Run(fields, func(t *testing.T) {
			q := request{conf: config("host-device", fields), container: fmt.Sprintf("h%d", i)}
			n.lend(t, b, q)
		})
	}
	b.t = t
	t.Logf("host-device equals Debian's plugin: %d of %d attributes", n.equal, n.compared)
}

// lend compares the device in the pod; what comes back is held against what went, and the plugin's against the
// name alone.
func (n *tally) lend(t *testing.T, b *bed, q request) {
	t.Helper()
	b.t = t
	theirs, mine := q, q
	theirs.pod, mine.pod = "a", "b"
	before := b.lookOnce(mine)
	want := b.pluginSide(theirs)
	n.one(t, "name that comes back by the plugin", masterLink, want.gone["master ifname"])
	b.t.Cleanup(func() { b.reset(context.Background()) })
	b.reset(t.Context())
	got := b.ourSide(mine)
	if want.err != nil || got.err != nil {
		t.Fatalf("plugin: %v; ours: %v", want.err, got.err)
	}
	n.compare(t, "made:", want.made, got.made)
	n.compare(t, "given back:", before, got.gone)
	n.one(t, "result", plain(want.result, theirs), plain(got.result, mine))
}
