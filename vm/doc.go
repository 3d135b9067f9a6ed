// Package vm runs a command in a virtual machine with a kernel of Debian's: QEMU without hardware
// acceleration, without root and without a change on the machine. QEMU and the kernels come from Debian's
// archive into the cache of ovn/debs. A guest boots from an initramfs with one static program as its init
// (see vm/guest), and hands its output and its files back over 9P.
package vm
