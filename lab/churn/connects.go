package churn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/topo"
)

// connection is one that was opened, greeted and closed.
type connection struct {
	begun int64 // its SYN, CLOCK_MONOTONIC
	err   error // nil: it was greeted within answerTime
}

// load opens connections at a rate until it is stopped.
type load struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	begun  atomic.Int64

	mu    sync.Mutex
	conns []connection // those that have ended
	err   error        // why no more are opened
}

// begin begins. All sockets are made by one thread that stays in the namespace.
func begin(ctx context.Context, netns string, rate int) *load {
	ctx, cancel := context.WithCancel(ctx)
	l := &load{cancel: cancel}
	l.wg.Go(func() {
		if err := topo.Do(netns, func() error { return l.run(ctx, rate) }); err != nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.err = err
		}
	})
	return l
}

// run opens as many connections as are due by the clock.
func (l *load) run(ctx context.Context, rate int) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	began, addrs := time.Now(), clientAddresses()
	to := netip.AddrPortFrom(netip.MustParseAddr(dying), fresh().port)
	for n := 0; ; {
		for due := int(time.Since(began).Seconds() * float64(rate)); n < due; n++ {
			at := ctl.Now()
			f, err := dial(addrs[n%len(addrs)], to)
			if err != nil {
				return err
			}
			l.begun.Add(1)
			l.wg.Go(func() { l.follow(f, at) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// dial begins a connection in the thread's namespace.
func dial(from netip.Addr, to netip.AddrPort) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1),
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}), // no TIME_WAIT: there are thousands
		unix.Bind(fd, &unix.SockaddrInet4{Addr: from.As4()}),
	)
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
	}
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return nil, errors.Join(fmt.Errorf("connect to %s from %s: %w", to, from, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "tcp"), nil
}

// follow waits for the greeting.
func (l *load) follow(f *os.File, begun int64) {
	err := greeted(f)
	_ = f.Close() // the greeting is what counts
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, connection{begun, err})
}

func greeted(f *os.File) error {
	if err := f.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if err := raw.Write(func(fd uintptr) bool { // until it is connected, or has failed, which reading tells
		_, err := unix.Getpeername(int(fd))
		failed, soErr := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		return err == nil || soErr != nil || failed != 0
	}); err != nil {
		return err
	}
	_, err = f.Read(make([]byte, 256))
	return err
}

// settle waits until n more connections have begun.
func (l *load) settle(ctx context.Context, n int) error {
	want := l.begun.Load() + int64(n)
	return until(ctx, func() (bool, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.begun.Load() >= want, l.err
	})
}

// stop ends the load and returns the connections. It may be called again.
func (l *load) stop() []connection {
	l.cancel()
	l.wg.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conns
}
