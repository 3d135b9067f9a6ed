package traffic

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
)

// maxGreeting bounds the first line of an answer.
const maxGreeting = 1024

// Greeting says who answered, and between which addresses as the server saw them.
type Greeting struct {
	Pod    string         `json:"pod"`    // namespace/name
	Local  netip.AddrPort `json:"local"`  // where the server received it
	Remote netip.AddrPort `json:"remote"` // whom the server takes for the client
}

// line is the greeting as it goes over the wire, newline included.
func (g Greeting) line() []byte {
	b, err := json.Marshal(g)
	if err != nil {
		// A struct of a string and two addresses always marshals.
		panic(fmt.Sprintf("marshal greeting: %v", err))
	}
	return append(b, '\n')
}

// ParseGreeting splits an answer into its greeting and what follows.
func ParseGreeting(b []byte) (Greeting, []byte, error) {
	head, rest, ok := bytes.Cut(b, []byte{'\n'})
	if !ok || len(head) > maxGreeting {
		return Greeting{}, nil, fmt.Errorf("parse greeting: no line of at most %d bytes in an answer of %d bytes", maxGreeting, len(b))
	}
	var g Greeting
	if err := json.Unmarshal(head, &g); err != nil {
		return Greeting{}, nil, fmt.Errorf("parse greeting %q: %w", head, err)
	}
	return g, rest, nil
}
