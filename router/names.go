package router

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"sync"
	"time"
)

// names finds the addresses of BIRD's dynamic protocols, whose names its log uses.
type names struct {
	dir string

	mu    sync.Mutex
	addrs map[string]netip.Addr
}

// nameTimeout bounds one question; one that BIRD has no time for is asked again, as long as there is a BIRD.
const nameTimeout = time.Second

// addr is the address of the peer behind a protocol; BIRD is asked for one that is not known yet.
func (n *names) addr(name string) netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	if a, ok := n.addrs[name]; ok {
		return a
	}
	sessions, err := n.ask()
	for errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		sessions, err = n.ask()
	}
	if err != nil {
		return netip.Addr{}
	}
	n.addrs = map[string]netip.Addr{}
	for _, s := range sessions {
		n.addrs[s.name] = s.Addr
	}
	return n.addrs[name]
}

func (n *names) ask() ([]session, error) {
	ctx, cancel := context.WithTimeout(context.Background(), nameTimeout)
	defer cancel()
	return birdSessions(ctx, n.dir)
}

// forget drops a name: BIRD may give it to another peer.
func (n *names) forget(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.addrs, name)
}
