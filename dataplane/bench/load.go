package bench

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/internal/space"
)

// load is a client: so many threads that each do one thing after the other. They call the kernel
// directly, with sockets that block: less stands between two packets than with package net.
type load struct {
	ns       *space.Namespace
	to       netip.AddrPort
	workers  int
	duration time.Duration
}

// served is what a load got.
type served struct {
	count    int
	rate     float64 // 1/s
	p50, p99 float64 // µs
	faults   int     // connections that were refused, reset or too slow
}

// patience is how long a connection may take.
const patience = 3 * time.Second

// requestBytes is the length of a request and of its answer.
const requestBytes = 64

// connections opens one connection after the other, each with one request.
func (l load) connections() (served, error) {
	return l.run(func(buf []byte, note func(time.Duration)) error {
		began := time.Now()
		fd, err := l.dial()
		if err == nil {
			err = request(fd, buf)
			err = errors.Join(err, unix.Close(fd))
		}
		if err == nil {
			note(time.Since(began))
		}
		return err
	})
}

// requests keeps a connection for each thread, and sends one request after the other.
func (l load) requests() (served, error) {
	return l.runKept(func(fd int, buf []byte, note func(time.Duration)) error {
		began := time.Now()
		if err := request(fd, buf); err != nil {
			return err
		}
		note(time.Since(began))
		return nil
	})
}

// dial connects a socket that blocks, with deadlines.
func (l load) dial() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	limit := unix.NsecToTimeval(int64(patience))
	for _, o := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, o, &limit); err != nil {
			return 0, errors.Join(err, unix.Close(fd))
		}
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(l.to.Port()), Addr: l.to.Addr().As4()})
	if errors.Is(err, unix.EINTR) { // the runtime's signals; the handshake goes on
		err = connected(fd)
	}
	if err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// connected waits for the end of a handshake.
func connected(fd int) error {
	for until := time.Now().Add(patience); time.Now().Before(until); {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(patience/time.Millisecond))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = unix.Errno(code)
		}
		return err
	}
	return unix.ETIMEDOUT
}

// uninterrupted calls the kernel again when a signal was in the way.
func uninterrupted(call func(fd int, b []byte) (int, error), fd int, b []byte) (int, error) {
	for {
		n, err := call(fd, b)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// request sends one request and reads its answer.
func request(fd int, buf []byte) error {
	if _, err := uninterrupted(unix.Write, fd, buf[:requestBytes]); err != nil {
		return err
	}
	for got := 0; got < requestBytes; {
		n, err := uninterrupted(unix.Read, fd, buf)
		if err != nil {
			return err
		}
		if n == 0 {
			return unix.ECONNRESET
		}
		got += n
	}
	return nil
}

// run has every thread call once over and over, for the duration, and once at least: a machine that has
// other things to do may let a thread begin when it is over.
func (l load) run(once func(buf []byte, note func(time.Duration)) error) (served, error) {
	return l.threads(func(until time.Time, note func(time.Duration)) (faults int, err error) {
		buf := make([]byte, requestBytes)
		for more := true; more; more = time.Now().Before(until) {
			if once(buf, note) != nil {
				faults++
			}
		}
		return faults, nil
	})
}

// runKept is run with one connection for each thread.
func (l load) runKept(once func(fd int, buf []byte, note func(time.Duration)) error) (served, error) {
	return l.threads(func(until time.Time, note func(time.Duration)) (faults int, err error) {
		fd, err := l.dial()
		if err != nil {
			return 1, fmt.Errorf("connect to %s: %w", l.to, err)
		}
		defer unix.Close(fd)
		buf := make([]byte, requestBytes)
		for more := true; more; more = time.Now().Before(until) {
			if err := once(fd, buf, note); err != nil {
				return 1, fmt.Errorf("request to %s: %w", l.to, err)
			}
		}
		return 0, nil
	})
}

// threads runs work on as many threads as there are workers, in the client's namespace.
func (l load) threads(work func(until time.Time, note func(time.Duration)) (int, error)) (served, error) {
	// A thread that blocks in the kernel keeps its P for a while; with one for each thread none
	// waits for another one's.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4*l.workers + runtime.NumCPU()))
	took := make([][]uint32, l.workers)
	faults := make([]int, l.workers)
	began := time.Now()
	until := began.Add(l.duration)
	var g errgroup.Group
	for i := range l.workers {
		took[i] = make([]uint32, 0, 1<<18)
		note := func(d time.Duration) { took[i] = append(took[i], uint32(d)) }
		g.Go(func() error {
			return l.ns.Do(func() (err error) {
				faults[i], err = work(until, note)
				return err
			})
		})
	}
	err := g.Wait()
	all := slices.Concat(took...)
	slices.Sort(all)
	s := served{count: len(all), rate: float64(len(all)) / time.Since(began).Seconds()}
	if len(all) > 0 {
		s.p50, s.p99 = float64(all[len(all)/2])/1000, float64(all[len(all)*99/100])/1000
	}
	for _, n := range faults {
		s.faults += n
	}
	return s, err
}

// flood sends datagrams as fast as it can and returns how many it has sent.
func (l load) flood() (int, error) {
	sent := 0
	err := l.ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(l.to.Port()), Addr: l.to.Addr().As4()}); err != nil {
			return err
		}
		buf := make([]byte, 18) // a frame of 60 bytes
		until := time.Now().Add(l.duration)
		for more := true; more; more = time.Now().Before(until) {
			for range 64 {
				if _, err := unix.Write(fd, buf); err == nil {
					sent++
				} else if !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
					return fmt.Errorf("send to %s: %w", l.to, err)
				}
			}
		}
		return nil
	})
	return sent, err
}
