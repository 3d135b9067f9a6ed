package router

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// names finds the addresses of BIRD's dynamic protocols, whose names its log uses.
type names struct {
	dir string

	mu    sync.Mutex
	addrs map[string]netip.Addr
}

// addr is the address of the peer behind a protocol; BIRD is asked for one that is not known yet.
func (n *names) addr(name string) netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	if a, ok := n.addrs[name]; ok {
		return a
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	sessions, err := birdSessions(ctx, n.dir)
	if err != nil {
		return netip.Addr{}
	}
	n.addrs = map[string]netip.Addr{}
	for _, s := range sessions {
		n.addrs[s.name] = s.Addr
	}
	return n.addrs[name]
}

// forget drops a name: BIRD may give it to another peer.
func (n *names) forget(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.addrs, name)
}
