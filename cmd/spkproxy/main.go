// Multipath TCP listeners know neither TTL security nor MD5, which BGP needs.
//
//go:debug multipathtcp=0

// Spkproxy is the proxy of one TMM pod: it reads the resources, programs the eBPF dataplane on
// the pod's interfaces and announces the virtual servers by BGP. It runs inside the pod's
// network namespace and knows nothing of a lab.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/dataplane/metrics"
)

// Exit codes, those of spklab.
const (
	exitInput     = 5
	exitLifecycle = 7
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stderr))
}

func run(ctx context.Context, args []string, stderr io.Writer) int {
	cfg, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "spkproxy:", err)
		return exitInput
	}
	if err := control.Run(ctx, cfg); err != nil {
		fmt.Fprintln(stderr, "spkproxy:", err)
		return exitLifecycle
	}
	return 0
}

// parse reads the flags.
func parse(args []string, stderr io.Writer) (control.Config, error) {
	var (
		c   control.Config
		pod string

		scraped string
	)
	f := flag.NewFlagSet("spkproxy", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&c.Manifests, "manifests", "", "`directory` of manifests to follow")
	f.StringVar(&pod, "pod", "", "the TMM's own pod, `namespace/name`")
	f.StringVar(&c.Pins, "pins", "", "`directory` on a BPF filesystem for this TMM's pins")
	f.StringVar(&c.Socket, "ctl", "", "control `socket` to serve")
	f.DurationVar(&c.Drain, "drain", control.DefaultDrain, "how long a withdrawn virtual server goes on serving")
	f.StringVar(&scraped, "metrics", "", "serve Prometheus metrics at `address:port`, of the loopback or the pod; without it none are served")
	if err := f.Parse(args); err != nil {
		return c, err
	}
	if f.NArg() > 0 {
		return c, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	for _, required := range []struct{ name, value string }{{"manifests", c.Manifests}, {"pod", pod}, {"ctl", c.Socket}} {
		if required.value == "" {
			return c, fmt.Errorf("missing flag --%s", required.name)
		}
	}
	var ok bool
	if c.Namespace, c.Name, ok = strings.Cut(pod, "/"); !ok || c.Namespace == "" || c.Name == "" {
		return c, fmt.Errorf("--pod %q: write namespace/name", pod)
	}
	if c.Drain < 0 {
		return c, fmt.Errorf("--drain %s: write 0 or more", c.Drain)
	}
	if scraped != "" {
		addr, err := metrics.ParseAddr(scraped)
		if err != nil {
			return c, fmt.Errorf("--metrics %w", err)
		}
		c.Beside = func(ctx context.Context, tmm control.Observed) error {
			return metrics.Serve(ctx, addr, tmm)
		}
	}
	c.Log = ctl.NewLog(c.Name)
	return c, nil
}
