package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
)

// startHAProxy has HAProxy take the connections at the virtual server's address.
func (n *network) startHAProxy() error {
	err := n.lb.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := sysctl("net/ipv4/ip_local_port_range", "1024 65535"); err != nil {
			return err
		}
		return addAddress(lo, netVIP+"/32")
	})
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "spklab-bench-")
	if err != nil {
		return fmt.Errorf("make directory for HAProxy: %w", err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(haproxyConfig()), 0o600); err != nil {
		return fmt.Errorf("configure HAProxy: %w", err)
	}
	if err := n.start(n.lb, "haproxy", "-db", "-f", file); err != nil {
		return err
	}
	return n.answers(requestPort)
}

func haproxyConfig() string {
	var b strings.Builder
	b.WriteString(`global
	maxconn 4000
defaults
	mode tcp
	timeout connect 2s
	timeout client 60s
	timeout server 60s
`)
	for _, port := range []int{requestPort, streamPort} {
		fmt.Fprintf(&b, "listen port%d\n\tbind %s:%d\n", port, netVIP, port)
		for i := range netBackends {
			fmt.Fprintf(&b, "\tserver s%d %s:%d\n", i, addAddr(netBackend, i), port)
		}
	}
	return b.String()
}
