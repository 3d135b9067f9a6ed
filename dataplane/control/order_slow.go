//go:build spkslow

package control

import (
	"context"
	"fmt"
	"os"
	"time"
)

// beforeProgram waits for as long as SPKPROXY_SLOW says, as a proxy would that has become slow at
// programming: for the tests of those who have to find it. No proxy that is shipped is built with the tag.
func (*reconciler) beforeProgram(ctx context.Context, _ Desired) error {
	wait, err := time.ParseDuration(os.Getenv("SPKPROXY_SLOW"))
	if err != nil {
		return fmt.Errorf("SPKPROXY_SLOW: %w", err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(wait):
	}
	return nil
}
