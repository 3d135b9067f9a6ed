package state

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// mapInfo is struct bpf_map_info of Linux 4.18, which is the part that says what the types are.
type mapInfo struct {
	kind, id                         uint32
	keySize, valueSize               uint32
	maxEntries, flags                uint32
	name                             [16]byte
	ifindex, vmlinux                 uint32
	netnsDevice, netnsInode          uint64
	btf, btfKeyType, btfValueType, _ uint32
}

// infoAttr is the part of union bpf_attr that BPF_OBJ_GET_INFO_BY_FD reads.
type infoAttr struct {
	fd, length uint32
	info       uint64
}

// errNoTypes says that a map was made without BTF.
var errNoTypes = errors.New("the map has no type information")

func infoOf(m *ebpf.Map) (*mapInfo, error) {
	info := new(mapInfo)
	var pinned runtime.Pinner // the kernel gets its address inside of another structure
	pinned.Pin(info)
	defer pinned.Unpin()
	attr := infoAttr{fd: uint32(m.FD()), length: uint32(unsafe.Sizeof(*info)), info: uint64(uintptr(unsafe.Pointer(info)))}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_OBJ_GET_INFO_BY_FD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return nil, fmt.Errorf("ask the kernel about %s: %w", m, errno)
	}
	return info, nil
}

// types are those of maps by the maps' ids, since reading BTF is most of the work of reading a map. The
// zero value is valid; it is safe for concurrent use.
type types struct {
	mu   sync.Mutex
	byID map[uint32]mapTypes
}

// mapTypes are the types of a map's keys and values.
type mapTypes struct{ key, value btf.Type }

// of are the types that the kernel keeps with a map. The library tells which BTF that is, and not which
// of its types.
func (c *types) of(m *ebpf.Map) (mapTypes, error) {
	info, err := infoOf(m)
	if err != nil {
		return mapTypes{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if t, ok := c.byID[info.id]; ok {
		return t, nil
	}
	t, err := readTypes(m, info)
	if err != nil {
		return t, err
	}
	if c.byID == nil || len(c.byID) >= maxTypes { // those of maps that are gone go with the others
		c.byID = map[uint32]mapTypes{}
	}
	c.byID[info.id] = t
	return t, nil
}

// maxTypes bounds how many maps' types are kept.
const maxTypes = 1024

func readTypes(m *ebpf.Map, info *mapInfo) (t mapTypes, err error) {
	if info.btf == 0 || info.btfKeyType == 0 || info.btfValueType == 0 {
		return t, errNoTypes
	}
	h, err := btf.NewHandleFromID(btf.ID(info.btf))
	if err != nil {
		return t, fmt.Errorf("open BTF of %s: %w", m, err)
	}
	defer h.Close()
	spec, err := h.Spec(nil)
	if err != nil {
		return t, fmt.Errorf("read BTF of %s: %w", m, err)
	}
	if t.key, err = spec.TypeByID(btf.TypeID(info.btfKeyType)); err != nil {
		return t, fmt.Errorf("key type of %s: %w", m, err)
	}
	if t.value, err = spec.TypeByID(btf.TypeID(info.btfValueType)); err != nil {
		return t, fmt.Errorf("value type of %s: %w", m, err)
	}
	return t, nil
}
