// Package cni reads the configurations of CNI plugins as NetworkAttachmentDefinitions hold them, decides
// on addresses as the plugins host-local and static do, and prints results in the versions of the CNI
// specification (0.1.0 to 1.1.0). Nothing in it touches a network; who attaches does that.
package cni
