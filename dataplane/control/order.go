//go:build !spkfault && !spkslow

package control

import "context"

// beforeProgram is where a proxy that is built with the tag spkfault announces too early, and one with
// the tag spkslow waits; this one does nothing.
func (*reconciler) beforeProgram(context.Context, Desired) error { return nil }
