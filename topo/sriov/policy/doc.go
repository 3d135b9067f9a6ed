// Package policy turns SriovNetworkNodePolicies and the PFs of a node into what each PF is to become and
// which VFs are which resource. It is pure: reading the node and changing it are package sriov's.
//
// Policies are combined as the SR-IOV network operator does: the lowest priority number wins, groups of VFs
// that do not overlap stand beside each other.
package policy
