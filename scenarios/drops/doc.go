// Package drops sees which packets the kernel drops in the network namespaces of a lab, and why, in the
// kernel's own words.
package drops
