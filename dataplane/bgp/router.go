package bgp

import "context"

// RunRouter runs a Router in the calling process's network namespace and serves its
// RouterState and events on the control socket until ctx ends. It removes its routes on return.
func RunRouter(ctx context.Context, cfg RouterConfig, socket string) error { return nil }
