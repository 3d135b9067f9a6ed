package dataplane

import (
	"errors"
	"fmt"
	"os"
)

// localPortRange is where the kernel takes the ports of the TMM's own connections from.
const localPortRange = "/proc/sys/net/ipv4/ip_local_port_range"

// minPorts is the least that is worth translating sources with.
const minPorts = 1024

// firstPort: the ports below need privileges on most systems and are left alone.
const firstPort = 1024

var errNoPorts = errors.New("no 1024 ports are left for translated sources")

// snatPorts returns the larger of the two port ranges (both ends included) that the kernel
// does not use itself, so that a translated source is never taken for a connection of the TMM's
// own, such as its BGP sessions.
func snatPorts(localMin, localMax uint16) (low, high uint16, err error) {
	below := int(localMin) - firstPort
	above := 65535 - int(localMax)
	if max(below, above) < minPorts {
		return 0, 0, fmt.Errorf("%s is %d-%d: %w", localPortRange, localMin, localMax, errNoPorts)
	}
	if below >= above {
		return firstPort, localMin - 1, nil
	}
	return localMax + 1, 65535, nil
}

// readLocalPorts reads localPortRange of the caller's network namespace.
func readLocalPorts() (localMin, localMax uint16, err error) {
	b, err := os.ReadFile(localPortRange)
	if err != nil {
		return 0, 0, fmt.Errorf("read local port range: %w", err)
	}
	if _, err := fmt.Sscan(string(b), &localMin, &localMax); err != nil {
		return 0, 0, fmt.Errorf("parse %s: %q: %w", localPortRange, b, err)
	}
	return localMin, localMax, nil
}
