// Package hil holds the inventories of SR-IOV cards that ship with the binary. sample.yml is one to copy, for
// the cards of a rack.
package hil

import "embed"

// VM is the inventory of the cards that a guest of `spklab vm` has; FS holds it as vm.yml.
const VM = "vm"

// FS is the inventories, NAME.yml each.
//
//go:embed vm.yml
var FS embed.FS
