package bench

import (
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/internal/space"
)

// echoServer answers on a port with what it is sent. It is one thread around epoll, so that it
// costs little beside what is measured.
type echoServer struct {
	listener, poll int
	stop           atomic.Bool
	done           chan error
}

// pollEvery is how often, in ms, the server looks whether it shall end.
const pollEvery = 50

// startServer starts a server in a namespace.
func startServer(ns *space.Namespace, port uint16) (*echoServer, error) {
	s := &echoServer{done: make(chan error, 1)}
	started := make(chan error, 1)
	go func() {
		s.done <- ns.Do(func() error {
			err := s.listen(port)
			started <- err
			if err != nil {
				return nil // told already
			}
			return s.serve()
		})
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("listen on port %d: %w", port, err)
	}
	return s, nil
}

// close ends the server and returns what went wrong with it.
func (s *echoServer) close() error {
	s.stop.Store(true)
	return <-s.done
}

func (s *echoServer) listen(port uint16) error {
	var err error
	if s.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	if s.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return errors.Join(err, unix.Close(s.listener))
	}
	if err := unix.SetsockoptInt(s.listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := unix.Bind(s.listener, &unix.SockaddrInet4{Port: int(port)}); err != nil {
		return err
	}
	if err := unix.Listen(s.listener, 4096); err != nil {
		return err
	}
	return s.watch(s.listener)
}

func (s *echoServer) watch(fd int) error {
	return unix.EpollCtl(s.poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (s *echoServer) serve() error {
	conns := map[int]bool{}
	defer func() {
		for fd := range conns {
			_ = unix.Close(fd)
		}
		_ = unix.Close(s.poll)
		_ = unix.Close(s.listener)
	}()
	events := make([]unix.EpollEvent, 256)
	buf := make([]byte, 4096)
	for !s.stop.Load() {
		n, err := unix.EpollWait(s.poll, events, pollEvery)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for requests: %w", err)
		}
		for _, e := range events[:max(n, 0)] {
			fd := int(e.Fd)
			if fd == s.listener {
				if err := s.accept(conns); err != nil {
					return err
				}
			} else if !echo(fd, buf) {
				delete(conns, fd)
				_ = unix.Close(fd) // the client's end of the connection counts
			}
		}
	}
	return nil
}

// accept takes all connections that wait.
func (s *echoServer) accept(conns map[int]bool) error {
	for {
		fd, _, err := unix.Accept4(s.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		if errors.Is(err, unix.ECONNABORTED) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		conns[fd] = true
		if err := s.watch(fd); err != nil {
			return err
		}
	}
}

// echo answers one request and reports whether the connection goes on.
func echo(fd int, buf []byte) bool {
	n, err := unix.Read(fd, buf)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return true
	}
	if err != nil || n == 0 {
		return false
	}
	_, err = unix.Write(fd, buf[:n])
	return err == nil
}
