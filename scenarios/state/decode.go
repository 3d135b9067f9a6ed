package state

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// decoder writes what an eBPF map holds as text, by the BTF of its types. An integer that BTF calls
// __be32 is an address, __be16 a port in network byte order, four __be32 an IPv6 address; bytes
// called mac are one, printable ones are text. Enumerations stand by their names.
type decoder struct {
	skip  []string       // members that are left out, by name
	links map[int]string // names by interface index, for members that hold one
}

// families as sockets number them, which a sibling member called family holds.
const (
	afInet  = 2
	afInet6 = 10
)

// text is the value of a type that data holds; bytes that are missing are a mistake of the caller's
// and written as such. name is that of the member it stands in, empty at the top.
func (d decoder) text(t btf.Type, name string, data []byte) string {
	size, err := btf.Sizeof(t)
	if err != nil || size > len(data) {
		return "0x" + hex.EncodeToString(data)
	}
	data = data[:size]
	switch u := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		return d.members(u.Members, data)
	case *btf.Array:
		return d.array(u, name, data, 0)
	case *btf.Enum:
		return enumText(u, number(data))
	case *btf.Int:
		return d.integer(t, u, name, data)
	}
	return "0x" + hex.EncodeToString(data)
}

func (d decoder) members(members []btf.Member, data []byte) string {
	family := uint64(0)
	for _, m := range members {
		if m.Name == "family" && m.BitfieldSize == 0 {
			family = number(data[m.Offset.Bytes():][:1])
		}
	}
	var parts []string
	for _, m := range members {
		if m.BitfieldSize > 0 || slices.Contains(d.skip, m.Name) || m.Name == "pad" || m.Name == "family" {
			continue
		}
		at := data[m.Offset.Bytes():]
		if a, ok := btf.UnderlyingType(m.Type).(*btf.Array); ok {
			parts = append(parts, m.Name+"="+d.array(a, m.Name, at[:sizeOf(m.Type, at)], family))
			continue
		}
		text := d.text(m.Type, m.Name, at)
		if _, ok := btf.UnderlyingType(m.Type).(*btf.Struct); ok {
			text = "{" + text + "}"
		}
		parts = append(parts, m.Name+"="+text)
	}
	return strings.Join(parts, " ")
}

// sizeOf is a type's size, at most what data holds.
func sizeOf(t btf.Type, data []byte) int {
	n, err := btf.Sizeof(t)
	if err != nil {
		return 0
	}
	return min(n, len(data))
}

// array writes addresses, MACs and text as such. family says which of two an address is, 0 where
// nothing does.
func (d decoder) array(a *btf.Array, name string, data []byte, family uint64) string {
	switch {
	case typedef(a.Type) == "__be32" && a.Nelems == 4:
		return address(data, family)
	case typedef(a.Type) == "__be32" && a.Nelems == 3:
		return netip.PrefixFrom(netip.AddrFrom16([16]byte(append(slices.Clone(data), 0, 0, 0, 0))), 96).String()
	case isByte(a.Type) && strings.HasSuffix(name, "mac") && len(data) >= 6:
		return net.HardwareAddr(data[:6]).String()
	case isByte(a.Type):
		return bytesText(data)
	}
	size, err := btf.Sizeof(a.Type)
	if err != nil || size == 0 {
		return "0x" + hex.EncodeToString(data)
	}
	var parts []string
	for each := range slices.Chunk(data, size) {
		parts = append(parts, d.text(a.Type, name, each))
	}
	return "[" + strings.Join(parts, " ") + "]"
}

// address is 16 bytes that hold an address of either family, IPv4 in the first four.
func address(data []byte, family uint64) string {
	if family == afInet {
		return netip.AddrFrom4([4]byte(data)).String()
	}
	return netip.AddrFrom16([16]byte(data)).String()
}

// bytesText is text where the bytes are, up to the first zero, and all after it are zero.
func bytesText(data []byte) string {
	text := bytes.TrimRight(data, "\x00")
	if slices.ContainsFunc(text, func(b byte) bool { return b < ' ' || b > '~' }) {
		return "0x" + hex.EncodeToString(data)
	}
	if len(text) == 0 {
		return `""`
	}
	return string(text)
}

func (d decoder) integer(t btf.Type, i *btf.Int, name string, data []byte) string {
	switch {
	case typedef(t) == "__be32" && len(data) == 4 && name == "id":
		return "0x" + hex.EncodeToString(data)
	case typedef(t) == "__be32" && len(data) == 4:
		return netip.AddrFrom4([4]byte(data)).String()
	case typedef(t) == "__be16" && len(data) == 2:
		return strconv.Itoa(int(binary.BigEndian.Uint16(data)))
	case i.Encoding == btf.Signed:
		return strconv.FormatInt(signed(data), 10)
	case name == "ifindex" || name == "oif" || name == "device":
		return d.link(int(number(data)))
	}
	return strconv.FormatUint(number(data), 10)
}

// link is an interface by its name, or its index where it has none.
func (d decoder) link(index int) string {
	if name, ok := d.links[index]; ok {
		return name
	}
	return "#" + strconv.Itoa(index)
}

// typedef is the first of the names that a type goes by, empty where it has none.
func typedef(t btf.Type) string {
	if d, ok := t.(*btf.Typedef); ok {
		return d.Name
	}
	return ""
}

func isByte(t btf.Type) bool {
	i, ok := btf.UnderlyingType(t).(*btf.Int)
	return ok && i.Size == 1
}

// number is an unsigned integer of up to eight bytes in the machine's byte order.
func number(data []byte) uint64 {
	switch len(data) {
	case 1:
		return uint64(data[0])
	case 2:
		return uint64(binary.NativeEndian.Uint16(data))
	case 4:
		return uint64(binary.NativeEndian.Uint32(data))
	case 8:
		return binary.NativeEndian.Uint64(data)
	}
	return 0
}

func signed(data []byte) int64 {
	shift := 64 - 8*len(data)
	return int64(number(data)<<shift) >> shift
}

// enumText is a value by its name; one that has none is taken for flags where every bit has a name.
func enumText(e *btf.Enum, v uint64) string {
	var names []string
	left := v
	for _, each := range e.Values {
		if each.Value == v {
			return each.Name
		}
		if each.Value != 0 && each.Value&(each.Value-1) == 0 && v&each.Value != 0 {
			names, left = append(names, each.Name), left&^each.Value
		}
	}
	if len(names) > 0 && left == 0 {
		return strings.Join(names, "|")
	}
	return fmt.Sprint(v)
}
