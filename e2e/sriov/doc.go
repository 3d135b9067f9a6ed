// Package sriov checks in a virtual machine with two SR-IOV network cards what the lab builds on: how
// virtual functions come, what their physical functions can say of them, which packets pass. Its tests run
// twice: on the machine one boots the guest, in the guest the others run.
package sriov
