package bgp

import (
	"log/slog"
	"strings"

	"github.com/osrg/gobgp/v3/pkg/log"
)

// quietLogger hands gobgp's warnings and errors to the process's log. gobgp's fields name peers
// and states; passwords are never among them.
type quietLogger struct{}

// listenerTTL starts the warning about a TTL that gobgp cannot set on its listeners; it sets it
// on each connection later on, so the warning means nothing.
const listenerTTL = "cannot set TTL (255) for TCPListener"

func (quietLogger) Panic(msg string, f log.Fields) { slog.Error("bgp: "+msg, attrs(f)...) }
func (quietLogger) Fatal(msg string, f log.Fields) { slog.Error("bgp: "+msg, attrs(f)...) }
func (quietLogger) Error(msg string, f log.Fields) { slog.Error("bgp: "+msg, attrs(f)...) }
func (quietLogger) Warn(msg string, f log.Fields) {
	if !strings.HasPrefix(msg, listenerTTL) {
		slog.Warn("bgp: "+msg, attrs(f)...)
	}
}
func (quietLogger) Info(string, log.Fields)  {}
func (quietLogger) Debug(string, log.Fields) {}
func (quietLogger) SetLevel(log.LogLevel)    {}
func (quietLogger) GetLevel() log.LogLevel   { return log.WarnLevel }

func attrs(f log.Fields) []any {
	out := make([]any, 0, 2*len(f))
	for k, v := range f {
		out = append(out, k, v)
	}
	return out
}
