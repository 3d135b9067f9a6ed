// Package dump asks the kernel for lists.
package dump

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// attempts is how often a list is asked for: each time something changes while it is written, it is not whole.
const attempts = 20

// Whole is what ask answers, asked again while the kernel says that its answer was interrupted by a change
// (NLM_F_DUMP_INTR, netlink(7)). Everybody's changes count, so on a machine at work that is common.
func Whole[T any](ask func() ([]T, error)) (out []T, err error) {
	for range attempts {
		if out, err = ask(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return out, err
}
