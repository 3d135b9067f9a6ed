// Package health asks pool members whether they are alive: TCP, UDP, ICMP echo and HTTP probes,
// each with its own rhythm, in addition to what Kubernetes says about readiness.
package health

import (
	"fmt"
	"net/netip"
	"time"
)

// Kind is what a probe does.
type Kind string

// The kinds of probes.
const (
	TCP   Kind = "tcp"   // connect; with Send or Receive an exchange on the connection
	UDP   Kind = "udp"   // send a datagram: an answer, or no ICMP error within the timeout
	ICMP  Kind = "icmp"  // an echo request; the member's port does not matter
	HTTP  Kind = "http"  // a GET request over TCP
	HTTPS Kind = "https" // the same over TLS; certificates are not verified
)

// Monitor says how to probe. It is comparable: equal monitors of one member are one probe.
type Monitor struct {
	Kind     Kind          `json:"kind"`
	Interval time.Duration `json:"interval"` // from the start of one probe to that of the next, ± a tenth
	Timeout  time.Duration `json:"timeout"`  // of one probe, at most Interval
	Rise     int           `json:"rise"`     // successes in a row that bring a member that is down up
	Fall     int           `json:"fall"`     // failures in a row that bring a member down
	// Send is what a TCP or UDP probe sends; empty: nothing over TCP, an empty datagram over UDP.
	Send string `json:"send,omitempty"`
	// Receive is a part that the answer must have; empty: any answer over UDP, none is waited
	// for over TCP.
	Receive string `json:"receive,omitempty"`
	// Path, Host, MinStatus, MaxStatus and Body are for HTTP: what to ask for, the Host header
	// (empty: the member's address), the status codes that count as success, both included,
	// and a part that the first 64 KiB of the body must have (empty: any body).
	Path      string `json:"path,omitempty"`
	Host      string `json:"host,omitempty"`
	MinStatus int    `json:"min_status,omitempty"`
	MaxStatus int    `json:"max_status,omitempty"`
	Body      string `json:"body,omitempty"`
}

// Target is one probe of one member.
type Target struct {
	Member netip.AddrPort `json:"member"`
	// Source is the address that the probe leaves from; not valid: the kernel's choice.
	Source  netip.Addr `json:"source,omitzero"`
	Monitor Monitor    `json:"monitor"`
}

// String is "tcp 10.131.1.100:8080".
func (t Target) String() string { return fmt.Sprintf("%s %s", t.Monitor.Kind, t.Member) }

// State is what a probe has found out.
type State string

// The states. A target begins as unknown; its first success makes it up, Fall failures in a row
// make it down.
const (
	Unknown State = "unknown"
	Up      State = "up"
	Down    State = "down"
)

// Status is how a target stands.
type Status struct {
	State State     `json:"state"`
	Since time.Time `json:"since"` // when it came into that state
	// LastError is why the newest failure failed, kept until a probe succeeds; empty: none.
	LastError string        `json:"last_error,omitempty"`
	Latency   time.Duration `json:"latency"`          // of the newest success, 0 before the first
	Checked   time.Time     `json:"checked,omitzero"` // when the newest probe ended
	Streak    int           `json:"streak"`           // results in a row like the newest one
}

// next is the status after a probe that ended at now; err nil is a success that took latency.
func (s Status) next(m Monitor, now time.Time, latency time.Duration, err error) Status {
	failed := s.LastError != ""
	if s.Checked.IsZero() || failed != (err != nil) {
		s.Streak = 0
	}
	s.Streak++
	s.Checked = now
	to := s.State
	if err != nil {
		s.LastError = err.Error()
		if s.Streak >= m.Fall {
			to = Down
		}
	} else {
		s.LastError, s.Latency = "", latency
		if s.State == Unknown || s.Streak >= m.Rise {
			to = Up
		}
	}
	if to != s.State {
		s.State, s.Since = to, now
	}
	return s
}
