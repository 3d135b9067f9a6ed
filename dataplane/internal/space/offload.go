package space

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offload is one of ethtool's settings of what an interface does for the stack.
type Offload uint32

// The offloads, by the commands of linux/ethtool.h that set them.
const (
	TxChecksum Offload = 0x17
	TSO        Offload = 0x1f
	TagsApart  Offload = 0x26 // VLAN tags beside the frames; only off, and with it all of ETHTOOL_SFLAGS
	GSO        Offload = 0x24
	GRO        Offload = 0x2c
)

// Set switches an offload of an interface of the caller's network namespace.
func (o Offload) Set(link string, on bool) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket for ethtool: %w", err)
	}
	defer unix.Close(fd)
	arg := [2]uint32{uint32(o), 0}
	if on {
		arg[1] = 1
	}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&arg)}
	copy(request.name[:], link)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return fmt.Errorf("set offload %#x of %s: %w", uint32(o), link, errno)
	}
	return nil
}
