package metrics

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/spklab/spklab/dataplane/control"
)

// Path is where the metrics are served.
const Path = "/metrics"

// Limits of the server. A scrape that takes longer than scrapeTimeout answers 503.
const (
	scrapeTimeout = 5 * time.Second
	idleTimeout   = 2 * time.Minute
	scrapers      = 4 // at a time; more answer 503
)

// awaitPod is how often to look again for the pod's addresses.
const awaitPod = 250 * time.Millisecond

// ParseAddr reads where to serve: an address of the loopback or of the pod, and a port. Wildcards
// are refused: they would tell everybody on every network of the TMM.
func ParseAddr(text string) (netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(text)
	switch {
	case err != nil:
		return a, fmt.Errorf("%q: write ADDRESS:PORT, as in 127.0.0.1:9179 or [::1]:9179", text)
	case a.Addr().IsUnspecified():
		return a, fmt.Errorf("%q: would answer on every interface; name the loopback or the pod's address, as in 127.0.0.1:%d", text, a.Port())
	case a.Addr().IsMulticast() || a.Port() == 0:
		return a, fmt.Errorf("%q: want a unicast address and a port from 1 to 65535", text)
	}
	return a, nil
}

// Serve answers scrapes on an address of the caller's network namespace until ctx ends. One that is
// not loopback has to be the pod's own on the cluster network: Serve waits until the TMM knows
// those, and refuses any other, like a self-IP.
func Serve(ctx context.Context, addr netip.AddrPort, tmm control.Observed) error {
	if err := awaitAllowed(ctx, addr.Addr(), tmm.Status); err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr.String())
	if err != nil {
		return fmt.Errorf("serve metrics: %w", err)
	}
	h, err := handler(tmm)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	s := &http.Server{Handler: h, ReadTimeout: scrapeTimeout, WriteTimeout: 2 * scrapeTimeout, IdleTimeout: idleTimeout}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}

// awaitAllowed returns once it is known that metrics may be served on an address, or with ctx.
func awaitAllowed(ctx context.Context, a netip.Addr, status func() (control.Status, error)) error {
	if a.IsLoopback() {
		return nil
	}
	again := time.NewTicker(awaitPod)
	defer again.Stop()
	for {
		st, err := status()
		if err == nil && slices.Contains(st.PodIPs, a.Unmap().WithZone("")) {
			return nil
		}
		if err == nil && len(st.PodIPs) > 0 {
			return fmt.Errorf("serve metrics: %s is neither an address of the loopback nor one of the pod's own, %v", a, st.PodIPs)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		}
	}
}

func handler(tmm control.Observed) (http.Handler, error) {
	reg := prometheus.NewPedanticRegistry()
	for _, c := range []prometheus.Collector{
		newCollector(tmm),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+Path, promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		ErrorHandling: promhttp.HTTPErrorOnError, MaxRequestsInFlight: scrapers, Timeout: scrapeTimeout,
	}))
	return mux, nil
}
