// Package topologies holds the lab files that ship with the binary, each in a directory of its
// own name with its manifests. One may use another's manifests.
package topologies

import "embed"

// FS is the topologies: NAME/NAME.spklab.yml and what it refers to.
//
//go:embed spk spk-sriov flannel bgp
var FS embed.FS
