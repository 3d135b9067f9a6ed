package state

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/spklab/spklab/dataplane/bpf"
)

// TestDecodeOwnMaps reads bytes by the types that the proxy's own maps have.
func TestDecodeOwnMaps(t *testing.T) {
	spec, err := bpf.LoadSpk()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, of string
		value    bool // of the map's value, not its key
		skip     []string
		data     string // hex by octet
		want     string
	}{
		{
			name: "a key of conntrack", of: "spk_ct4",
			data: "c0 00 02 0a 0a 83 01 64 01 bb 1f 90 06 01 64 00",
			want: "saddr=192.0.2.10 daddr=10.131.1.100 sport=443 dport=8080 proto=6 side=SPK_INTERNAL zone=100",
		},
		{
			name: "an entry of conntrack: nested, MACs, an interface by name, flags", of: "spk_ct4", value: true, skip: []string{"seen", "jiffies", "gen"},
			data: "09 00 00 00 03 05 01 00 02 00 00 50 1f 90 00 00 02 00 00 00 00 01 02 00 00 00 00 02 07 00 00 00 " +
				"05 00 00 00 03 00 00 00 00 00 dc 05 01 00 00 00 c0 00 02 0a 0a 83 01 64",
			want: "ct={state=SPK_ST_SEEN|SPK_ST_FIN flags=SPK_CT_FORWARD|SPK_CT_FAMILY addr_delta=1 port_delta=2 sport=80 dport=8080 vlan=0 " +
				"dmac=02:00:00:00:00:01 smac=02:00:00:00:00:02 oif=net1 owner=3 peer_zone=0 mtu=1500} saddr=192.0.2.10 daddr=10.131.1.100",
		},
		{
			name: "an IPv6 address", of: "spk_local6",
			data: "20 01 0d b8 00 02 00 00 00 00 00 00 00 00 00 10",
			want: "addr=2001:db8:2::10",
		},
		{
			name: "a key that is an address", of: "spk_local4", data: "c0 00 02 0a", want: "192.0.2.10",
		},
		{
			name: "text and flags without a name", of: "spk_local4", value: true,
			data: "42 00 00 00 31 2e 31 00 00 00 00 00 00 00 00 00",
			want: "kinds=66 interface=1.1",
		},
		{
			name: "the family says that the address is IPv4", of: "spk_owners", value: true,
			data: "0a 83 01 64 00 00 00 00 00 00 00 00 00 00 00 00 1f 90 02 01 01 00 00 00 05 00 02 00",
			want: "addr=10.131.1.100 port=8080 flags=SPK_OWNER_USED vs=1 weight=5 down=SPK_DOWN_DROP",
		},
		{
			name: "too few bytes", of: "spk_owners", value: true, data: "0a 83", want: "0x0a83",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			typ := spec.Maps[tc.of].Key
			if tc.value {
				typ = spec.Maps[tc.of].Value
			}
			dec := decoder{skip: tc.skip, links: map[int]string{7: "net1"}}
			if got := dec.text(typ, "", octets(t, tc.data)); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func octets(t *testing.T, text string) []byte {
	t.Helper()
	var out []byte
	for field := range strings.FieldsSeq(text) {
		var b byte
		for _, c := range []byte(field) {
			b = b<<4 | byte(strings.IndexByte("0123456789abcdef", c))
		}
		out = append(out, b)
	}
	return out
}

// TestDecodeAnyType holds the decoder against types that the proxy has not.
func TestDecodeAnyType(t *testing.T) {
	u8, u16, s32 := &btf.Int{Name: "u8", Size: 1}, &btf.Int{Name: "u16", Size: 2}, &btf.Int{Name: "s32", Size: 4, Encoding: btf.Signed}
	be32 := &btf.Typedef{Name: "__be32", Type: &btf.Int{Name: "u32", Size: 4}}
	for _, tc := range []struct {
		name, member string
		typ          btf.Type
		data         string
		want         string
	}{
		{"a negative number", "", s32, "fe ff ff ff", "-2"},
		{"bytes that are no text", "", &btf.Array{Type: u8, Nelems: 3}, "01 02 ff", "0x0102ff"},
		{"text", "name", &btf.Array{Type: u8, Nelems: 4}, "61 62 00 00", "ab"},
		{"no text", "name", &btf.Array{Type: u8, Nelems: 2}, "00 00", `""`},
		{"something after the text", "name", &btf.Array{Type: u8, Nelems: 4}, "61 00 62 00", "0x61006200"},
		{"numbers", "", &btf.Array{Type: u16, Nelems: 2}, "01 00 02 00", "[1 2]"},
		{"an identification", "id", be32, "00 00 00 2a", "0x0000002a"},
		{"a prefix", "nat64", &btf.Array{Type: be32, Nelems: 3}, "00 64 ff 9b 00 00 00 00 00 00 00 00", "64:ff9b::/96"},
		{"an interface that is gone", "oif", &btf.Int{Size: 4}, "09 00 00 00", "#9"},
		{"a structure of no size", "", &btf.Struct{}, "", ""},
		{"a pointer", "", &btf.Pointer{Target: u8}, "01 00 00 00 00 00 00 00", "0x0100000000000000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := (decoder{}).text(tc.typ, tc.member, octets(t, tc.data)); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}
