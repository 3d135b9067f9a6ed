package main

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/ovn"
)

func newRunOVNDaemon() *cobra.Command {
	var cfg ovn.DaemonConfig
	c := process("ovn-daemon", "a daemon of OVN or Open vSwitch", func(c *cobra.Command) error {
		return ovn.RunDaemon(c.Context(), cfg)
	})
	c.Flags().StringVar(&cfg.Role, "role", "", "which one: "+strings.Join(ovn.Roles(), ", "))
	c.Flags().StringVar(&cfg.Name, "name", "", "name of the process")
	c.Flags().StringVar(&cfg.Dir, "dir", "", "run directory")
	addRoot(c, &cfg.Programs)
	c.Flags().StringVar(&cfg.Ctl, "ctl", "", "control socket")
	return c
}

func addRoot(c *cobra.Command, p *ovn.Programs) {
	c.Flags().StringVar(&p.Root, "root", "", "private root of OVN's programs (default: the installed ones)")
}

func newRunOVSNode() *cobra.Command {
	var cfg ovn.NodeConfig
	var mac string
	var addresses, management, cluster []string
	c := process("ovs-node", "bridges and ports of one node", func(c *cobra.Command) error {
		var err error
		if cfg.MAC, err = net.ParseMAC(mac); err != nil {
			return fmt.Errorf("parse --mac: %w", err)
		}
		for _, f := range []struct {
			flag string
			text []string
			into *[]netip.Prefix
		}{{"address", addresses, &cfg.Addresses}, {"management", management, &cfg.Management}, {"cluster-cidr", cluster, &cfg.Cluster}} {
			for _, s := range f.text {
				p, err := netip.ParsePrefix(s)
				if err != nil {
					return fmt.Errorf("parse --%s: %w", f.flag, err)
				}
				*f.into = append(*f.into, p)
			}
		}
		return ovn.RunNode(c.Context(), cfg)
	})
	c.Flags().StringVar(&cfg.Node, "node", "", "the node's name")
	c.Flags().StringVar(&cfg.Dir, "dir", "", "run directory of the node's daemons")
	addRoot(c, &cfg.Programs)
	c.Flags().StringVar(&cfg.NB, "nb", "", "northbound database, unix:PATH")
	c.Flags().StringVar(&cfg.SB, "sb", "", "southbound database, unix:PATH")
	c.Flags().Uint32Var(&cfg.MaxRevalidator, "max-revalidator", 0, "other_config:max-revalidator of Open vSwitch, in milliseconds (default: its own)")
	c.Flags().StringVar(&cfg.Uplink, "uplink", "", "NIC on the physical network")
	c.Flags().StringVar(&mac, "mac", "", "MAC of the node and its gateway router")
	c.Flags().StringSliceVar(&addresses, "address", nil, "the node's addresses, ADDRESS/LENGTH")
	c.Flags().StringSliceVar(&management, "management", nil, "its addresses among the pods, in local gateway mode")
	c.Flags().StringSliceVar(&cluster, "cluster-cidr", nil, "networks of the pods, with --management")
	c.Flags().StringVar(&cfg.Ctl, "ctl", "", "control socket")
	return c
}
