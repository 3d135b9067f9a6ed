package dump

import (
	"errors"
	"fmt"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestWhole(t *testing.T) {
	other := errors.New("no")
	for _, tt := range []struct {
		name        string
		interrupted int
		then        error
		asked       int
		err         error
	}{
		{"at once", 0, nil, 1, nil},
		{"interrupted", 3, nil, 4, nil},
		{"refused", 0, other, 1, other},
		{"without end", 2 * attempts, nil, attempts, netlink.ErrDumpInterrupted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := 0
			got, err := Whole(func() ([]int, error) {
				if asked++; asked <= tt.interrupted {
					return nil, fmt.Errorf("list: %w", netlink.ErrDumpInterrupted)
				}
				return []int{asked}, tt.then
			})
			if asked != tt.asked || !errors.Is(err, tt.err) || err == nil && len(got) != 1 {
				t.Errorf("%v, %v after %d times", got, err, asked)
			}
		})
	}
}
