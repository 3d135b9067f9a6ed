// Package sriov makes virtual functions on the physical functions (PFs) of SR-IOV network cards and
// puts everything back.
//
// Read says what a node has, from sysfs and netlink. Apply brings a PF to a Target, having written down
// what was there in a Record; Restore brings it back from the Record alone, whoever was killed at whatever
// moment. A PF that the node is reached by is refused (Protected).
package sriov
