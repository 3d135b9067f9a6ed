package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/ovn"
	"github.com/spklab/spklab/ovnsim/exgw"
	"github.com/spklab/spklab/ovnsim/forward"
	"github.com/spklab/spklab/ovnsim/ovsdb"
	"github.com/spklab/spklab/router"
	"github.com/spklab/spklab/traffic"
)

// newRun holds the lab's own long-running processes. A lab starts them; nobody types them.
func newRun() *cobra.Command {
	run := &cobra.Command{Use: "run", Short: "Run one of a lab's own processes", Hidden: true}
	run.AddCommand(newRunOVNNB(), newRunOVNExgw(), newRunOVNNode(), newRunOVNDaemon(), newRunOVSNode(), newRunRouter(), newRunApp(), newRunCollector(), newRunGuest(), newRunGuestTest())
	return run
}

// process is a hidden command without arguments whose end by a signal is a success.
func process(use, short string, run func(*cobra.Command) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			err := run(c)
			if c.Context().Err() != nil && (err == nil || errors.Is(err, c.Context().Err())) {
				os.Exit(codePass)
			}
			if err != nil {
				return exitWith(codeLifecycle, err)
			}
			return nil
		},
	}
}

func newRunOVNNB() *cobra.Command {
	var cfg ovsdb.Config
	var listen []string
	var release ovn.Programs
	c := process("ovn-nb", "OVN northbound database (sim)", func(c *cobra.Command) error {
		if len(listen) == 0 {
			return errors.New("--listen is missing")
		}
		cfg.Listen, cfg.Also = listen[0], listen[1:]
		if release.Root != "" {
			cfg.Schema = release.Schema("ovn-nb")
		}
		return ovsdb.Run(c.Context(), cfg)
	})
	f := c.Flags()
	f.StringArrayVar(&listen, "listen", nil, "address for OVSDB clients: unix:PATH, ptcp:PORT[:IP] or pssl:PORT[:IP]; may be given again")
	addRoot(c, &release)
	f.StringVar(&cfg.DB, "db", "", "file that keeps the database, in ovsdb-server's format (default: memory)")
	f.BoolVar(&cfg.Northd, "northd", false, "a real ovn-northd reads the database: leave sb_cfg and hv_cfg to it")
	f.StringVar(&cfg.TLS.PrivateKey, "private-key", "", "private key for pssl")
	f.StringVar(&cfg.TLS.Certificate, "certificate", "", "certificate for pssl")
	f.StringVar(&cfg.TLS.CA, "ca-cert", "", "CA of the clients' certificates for pssl")
	f.StringVar(&cfg.Ctl, "ctl", "", "control socket")
	return c
}

func newRunOVNExgw() *cobra.Command {
	var cfg exgw.Config
	var cidrs []string
	var nodes string
	c := process("ovn-exgw", "external-gateway controller (sim)", func(c *cobra.Command) error {
		for _, s := range cidrs {
			p, err := netip.ParsePrefix(s)
			if err != nil {
				return fmt.Errorf("parse --cluster-cidr: %w", err)
			}
			cfg.ClusterCIDRs = append(cfg.ClusterCIDRs, p)
		}
		if nodes != "" {
			cfg.Flusher = exgw.Sockets(nodes)
		}
		return exgw.Run(c.Context(), cfg)
	})
	c.Flags().StringVar(&cfg.NB, "nb", "", "northbound database, unix:PATH, tcp:HOST:PORT or ssl:HOST:PORT")
	c.Flags().StringVar(&cfg.TLS.PrivateKey, "private-key", "", "key for ssl, PEM")
	c.Flags().StringVar(&cfg.TLS.Certificate, "certificate", "", "certificate for ssl, PEM")
	c.Flags().StringVar(&cfg.TLS.CA, "ca-cert", "", "certificate of who signed the server's, PEM")
	c.Flags().StringVar(&cfg.Manifests, "manifests", "", "object store")
	c.Flags().StringSliceVar(&cidrs, "cluster-cidr", nil, "networks of the pods")
	c.Flags().StringVar(&cfg.GatewayMode, "gateway-mode", exgw.GatewayShared, "shared or local")
	c.Flags().StringVar(&nodes, "nodes", "", "directory of the nodes' control sockets, to flush conntrack; empty: it is left alone")
	c.Flags().DurationVar(&cfg.FlushEvery, "flush-every", exgw.DefaultFlushEvery, "how often conntrack is flushed without a change")
	c.Flags().StringVar(&cfg.Ctl, "ctl", "", "control socket")
	return c
}

func newRunOVNNode() *cobra.Command {
	var cfg forward.Config
	var disable []string
	c := process("ovn-node", "datapath of one node (sim)", func(c *cobra.Command) error {
		for _, s := range disable {
			cfg.Disable = append(cfg.Disable, forward.Feature(s))
		}
		return forward.Run(c.Context(), cfg)
	})
	c.Flags().StringVar(&cfg.Node, "node", "", "the node's name")
	c.Flags().StringVar(&cfg.NB, "nb", "", "northbound database, unix:PATH")
	c.Flags().StringVar(&cfg.Bridge, "bridge", "br-int", "integration bridge")
	c.Flags().StringVar(&cfg.Uplink, "uplink", "", "NIC with the node's address")
	c.Flags().StringVar(&cfg.Profile, "profile", forward.ProfileSPK, "forwarding profile: "+strings.Join(forward.ProfileNames(), ", "))
	c.Flags().StringVar(&cfg.UDPHash, "udp-hash", "", "hash UDP by ports or by addresses (default: what the profile does)")
	c.Flags().StringSliceVar(&disable, "disable", nil, "features to break on purpose: symmetry, pinning, round-robin")
	c.Flags().StringVar(&cfg.Ctl, "ctl", "", "control socket")
	return c
}

func newRunRouter() *cobra.Command {
	var config, socket, kind, dir string
	c := process("router", "upstream router", func(c *cobra.Command) error {
		data, err := os.ReadFile(config)
		if err != nil {
			return fmt.Errorf("read router configuration: %w", err)
		}
		var cfg bgp.RouterConfig
		if err := json.Unmarshal(data, &cfg); err != nil {
			return fmt.Errorf("decode %s: %w", config, err)
		}
		if kind != "" {
			return router.Run(c.Context(), router.Config{Kind: kind, Dir: dir, Router: cfg}, socket)
		}
		return bgp.RunRouter(c.Context(), cfg, socket)
	})
	c.Flags().StringVar(&kind, "kind", "", "run the daemons of another maker: "+strings.Join(router.Kinds(), ", "))
	c.Flags().StringVar(&dir, "dir", "", "run directory, with --kind")
	c.Flags().StringVar(&config, "config", "", "configuration file (JSON)")
	c.Flags().StringVar(&socket, "ctl", "", "control socket")
	return c
}

func newRunApp() *cobra.Command {
	var cfg traffic.Config
	var tcp, udp []uint
	c := process("app", "application of a pod", func(c *cobra.Command) error {
		var err error
		if cfg.TCP, err = ports(tcp); err != nil {
			return err
		}
		if cfg.UDP, err = ports(udp); err != nil {
			return err
		}
		return traffic.Run(c.Context(), cfg)
	})
	c.Flags().StringVar(&cfg.Pod, "pod", "", "NAMESPACE/NAME of the pod")
	c.Flags().UintSliceVar(&tcp, "tcp", nil, "TCP ports")
	c.Flags().UintSliceVar(&udp, "udp", nil, "UDP ports")
	c.Flags().DurationVar(&cfg.Linger, "linger", 0, "how long to serve after SIGTERM (0: the default)")
	c.Flags().StringVar(&cfg.Ctl, "ctl", "", "control socket")
	return c
}

func ports(in []uint) ([]uint16, error) {
	var out []uint16
	for _, p := range in {
		if p == 0 || p > 65535 {
			return nil, fmt.Errorf("port %d: want 1 to 65535", p)
		}
		out = append(out, uint16(p))
	}
	return out, nil
}
