package ovn

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"time"
)

// unixctlTimeout bounds one command to a daemon.
const unixctlTimeout = 2 * time.Second

// unixctl sends a command to a daemon's control socket, as ovs-appctl(8) does: one JSON-RPC request
// (RFC 7047, section 4), whose result is text.
func unixctl(ctx context.Context, socket, command string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, unixctlTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return "", fmt.Errorf("dial control socket: %w", err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return "", fmt.Errorf("set deadline: %w", err)
		}
	}
	if args == nil {
		args = []string{}
	}
	if err := json.NewEncoder(conn).Encode(map[string]any{"id": 0, "method": command, "params": args}); err != nil {
		return "", fmt.Errorf("send %s: %w", command, err)
	}
	var answer struct {
		Result *string `json:"result"`
		Error  any     `json:"error"`
	}
	if err := json.NewDecoder(conn).Decode(&answer); err != nil {
		return "", fmt.Errorf("read the answer to %s: %w", command, err)
	}
	if answer.Result == nil {
		return "", fmt.Errorf("%s is refused: %v", command, answer.Error)
	}
	return *answer.Result, nil
}
