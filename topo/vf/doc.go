// Package vf gives virtual functions of SR-IOV network cards to network namespaces and takes them
// back, field by field as the CNI plugin sriov-cni does: what is set is applied in its order, what
// was there before is written down first and restored in the end.
//
// A Host is the machine with a directory for Records. A Record stands from before the first change
// until after the last one is taken back, so Del restores a VF whoever was killed at whatever moment.
package vf
