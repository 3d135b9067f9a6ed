package bench

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/spklab/spklab/dataplane/internal/space"
)

// startTimeout is how long a program may take until it answers.
const startTimeout = 10 * time.Second

// answers waits until the client can connect to a port.
func (n *network) answers(port uint16) error {
	to := netip.AddrPortFrom(n.destination(), port).String()
	return n.client.Do(func() error {
		deadline := time.Now().Add(startTimeout)
		for {
			c, err := net.DialTimeout("tcp", to, time.Second)
			if err == nil {
				return c.Close()
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("wait for %s: %w", to, err)
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
}

// offloadsOff has an interface send whole packets with their checksums: XDP has no other ones.
func offloadsOff(link string) error {
	for _, o := range []space.Offload{space.TSO, space.GSO, space.TxChecksum} {
		if err := o.Set(link, false); err != nil {
			return err
		}
	}
	return nil
}
