package api

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Types of monitors.
const (
	MonitorTCP   = "tcp"
	MonitorUDP   = "udp"
	MonitorICMP  = "icmp"
	MonitorHTTP  = "http"
	MonitorHTTPS = "https"
)

// What a monitor has where its author wrote nothing.
const (
	DefaultMonitorInterval = 5 * time.Second
	DefaultMonitorTimeout  = 3 * time.Second // at most the interval
	DefaultMonitorRise     = 2
	DefaultMonitorFall     = 3
)

// Limits of a monitor's times and counts.
const (
	minMonitorTime  = 100 * time.Millisecond
	maxMonitorTime  = 24 * time.Hour
	maxMonitorCount = 1000
)

// Monitor is a health monitor of an ingress resource, complete.
type Monitor struct {
	Type string `json:"type"` // MonitorTCP | MonitorUDP | MonitorICMP | MonitorHTTP | MonitorHTTPS
	// Interval is from probe to probe. Timeout bounds one probe and is at most Interval: a
	// longer one is read as BIG-IP does, as the time without an answer after which a member is
	// down, and becomes Fall.
	Interval metav1.Duration `json:"interval"`
	Timeout  metav1.Duration `json:"timeout"`
	Rise     int             `json:"rise"`              // successes in a row until up
	Fall     int             `json:"fall"`              // failures in a row until down
	Port     Port            `json:"port,omitempty"`    // 0: the member's own
	Send     string          `json:"send,omitempty"`    // tcp, udp
	Receive  string          `json:"receive,omitempty"` // tcp, udp: a part of the answer
	Path     string          `json:"path,omitempty"`    // http, https, from here on
	Host     string          `json:"host,omitempty"`
	Status   StatusRange     `json:"status,omitzero"` // zero: 2xx and 3xx
	Body     string          `json:"body,omitempty"`  // a part of it
}

// StatusRange is a range of HTTP status codes, both ends included; written 200 or "200-299".
type StatusRange struct{ Min, Max int }

// IsZero says that no range was written.
func (s StatusRange) IsZero() bool { return s == StatusRange{} }

// MarshalText writes "200-299".
func (s StatusRange) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%d-%d", s.Min, s.Max), nil
}

// Monitors are the health monitors of an ingress resource; a member is up while none of them
// says that it is down. They are written as a list of types or of mappings with a type, or as a
// mapping from types to their fields. Spellings that are not known are left out, and Decode
// warns.
type Monitors []Monitor

// UnmarshalJSON takes what it understands; it fails on what is no JSON alone.
func (m *Monitors) UnmarshalJSON(data []byte) error {
	n, err := parseNode(data)
	if err != nil {
		return err
	}
	r := monitorReader{warn: func(int, int, string, ...any) {}}
	r.read(n)
	*m = r.out
	return nil
}

// checkMonitors warns of what UnmarshalJSON leaves out.
func checkMonitors(f *fitter, spec *node) {
	if n := spec.get("monitors"); n != nil {
		r := monitorReader{warn: f.warn}
		r.read(n)
	}
}

// monitorReader reads monitors in every way that they are written.
type monitorReader struct {
	warn func(line, col int, format string, args ...any)
	out  Monitors
}

func (r *monitorReader) warnAt(n *node, format string, args ...any) {
	r.warn(n.line, n.col, format, args...)
}

func (r *monitorReader) read(n *node) {
	switch {
	case n == nil || n.kind == nullNode:
	case n.kind == seqNode:
		for _, item := range n.items {
			r.read(item)
		}
	case n.kind == stringNode:
		r.monitor(n.str(), n, nil)
	case n.kind != mapNode:
		r.warnAt(n, "%s where monitors belong is not used; write monitors: [{type: tcp}]", n.kind)
	case n.get("type") != nil:
		r.monitor(n.get("type").str(), n.get("type"), n)
	default:
		byType := slices.Clone(n.fields) // a mapping has no order
		slices.SortStableFunc(byType, func(a, b field) int { return strings.Compare(a.name, b.name) })
		for _, e := range byType {
			r.keyed(e)
		}
	}
}

// keyed reads a type with its fields, a list of them, or nothing.
func (r *monitorReader) keyed(e field) {
	at := &node{line: e.line, col: e.col}
	switch e.value.kind {
	case seqNode:
		for _, item := range e.value.items {
			r.keyed(field{name: e.name, line: e.line, col: e.col, value: item})
		}
	case mapNode:
		r.monitor(e.name, at, e.value)
	case boolNode:
		if e.value.value == true {
			r.monitor(e.name, at, nil)
		}
	default:
		r.monitor(e.name, at, nil)
	}
}

// monitor reads one; a nil n leaves all to the defaults.
func (r *monitorReader) monitor(word string, at, n *node) {
	kind, ok := monitorType(word)
	if !ok {
		r.warnAt(at, "monitor %q is not known and not used; tcp, udp, icmp, http and https are", word)
		return
	}
	m := Monitor{
		Type: kind, Interval: metav1.Duration{Duration: DefaultMonitorInterval},
		Rise: DefaultMonitorRise, Fall: DefaultMonitorFall,
	}
	if n != nil {
		for _, e := range n.fields {
			r.field(&m, e)
		}
	}
	m.settle(n == nil || n.get("fall") == nil)
	r.out = append(r.out, m)
}

// monitorType knows the types, with BIG-IP's names for some of them.
func monitorType(word string) (string, bool) {
	switch w := strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(word)); w {
	case MonitorTCP, MonitorUDP, MonitorICMP, MonitorHTTP, MonitorHTTPS:
		return w, true
	case "gatewayicmp", "ping":
		return MonitorICMP, true
	case "tcphalfopen":
		return MonitorTCP, true
	}
	return "", false
}

// settle makes the timeout fit the interval.
func (m *Monitor) settle(derive bool) {
	switch {
	case m.Timeout.Duration == 0:
		m.Timeout.Duration = min(DefaultMonitorTimeout, m.Interval.Duration)
	case m.Timeout.Duration > m.Interval.Duration:
		if derive {
			m.Fall = int(min(m.Timeout.Duration/m.Interval.Duration, maxMonitorCount))
		}
		m.Timeout = m.Interval
	}
}

// field reads one field of a monitor.
func (r *monitorReader) field(m *Monitor, e field) {
	isHTTP := m.Type == MonitorHTTP || m.Type == MonitorHTTPS
	exchanges := m.Type == MonitorTCP || m.Type == MonitorUDP
	switch name := strings.ToLower(e.name); {
	case name == "type" || name == "name":
	case name == "interval":
		r.duration(&m.Interval.Duration, e)
	case name == "timeout":
		r.duration(&m.Timeout.Duration, e)
	case name == "rise":
		r.count(&m.Rise, e, 1, maxMonitorCount)
	case name == "fall":
		r.count(&m.Fall, e, 1, maxMonitorCount)
	case name == "port" && m.Type != MonitorICMP:
		port := int(m.Port)
		r.count(&port, e, 0, math.MaxUint16)
		m.Port = Port(port)
	case name == "send" && exchanges:
		r.text(&m.Send, e)
	case (name == "receive" || name == "recv") && exchanges:
		r.text(&m.Receive, e)
	case name == "path" && isHTTP:
		r.path(m, e)
	case name == "host" && isHTTP:
		r.text(&m.Host, e)
	case name == "status" && isHTTP:
		r.status(m, e)
	case name == "body" && isHTTP:
		r.text(&m.Body, e)
	default:
		r.warn(e.line, e.col, "field %q of a monitor of type %s is not known and ignored", e.name, m.Type)
	}
}

// duration reads seconds, or "500ms".
func (r *monitorReader) duration(to *time.Duration, e field) {
	var d time.Duration
	switch v := e.value.value.(type) {
	case int64:
		d = time.Duration(min(v, math.MaxInt32)) * time.Second
	case uint64:
		d = time.Duration(min(v, math.MaxInt32)) * time.Second
	case float64:
		d = time.Duration(min(v, math.MaxInt32) * float64(time.Second))
	case string:
		if seconds, err := strconv.ParseUint(v, 10, 31); err == nil {
			d = time.Duration(seconds) * time.Second
		} else if d, err = time.ParseDuration(v); err != nil {
			d = 0
		}
	}
	if d < minMonitorTime || d > maxMonitorTime {
		r.warnAt(e.value, "%s of a monitor is %q and ignored; write %s to %s, or a number of seconds", e.name, e.value.text, minMonitorTime, maxMonitorTime)
		return
	}
	*to = d
}

func (r *monitorReader) count(to *int, e field, least, most int) {
	n, err := strconv.Atoi(e.value.text)
	if e.value.kind == numberNode && err == nil && n >= least && n <= most {
		*to = n
		return
	}
	r.warnAt(e.value, "%s of a monitor is %q and ignored; write %d to %d", e.name, e.value.text, least, most)
}

func (r *monitorReader) text(to *string, e field) {
	if e.value.kind != stringNode {
		r.warnAt(e.value, "%s of a monitor is %s and ignored; write a string", e.name, e.value.kind)
		return
	}
	*to = e.value.str()
}

func (r *monitorReader) path(m *Monitor, e field) {
	if !strings.HasPrefix(e.value.str(), "/") {
		r.warnAt(e.value, "path of a monitor is %q and ignored; write one like /healthz", e.value.text)
		return
	}
	m.Path = e.value.str()
}

// status reads 200, "200" and "200-299".
func (r *monitorReader) status(m *Monitor, e field) {
	low, high, ranged := strings.Cut(e.value.text, "-")
	if !ranged {
		high = low
	}
	least, err := strconv.Atoi(low)
	most, err2 := strconv.Atoi(high)
	scalar := slices.Contains([]nodeKind{numberNode, stringNode}, e.value.kind)
	if !scalar || err != nil || err2 != nil || least < 100 || most > 599 || least > most {
		r.warnAt(e.value, "status of a monitor is %q and ignored; write 200 or 200-299", e.value.text)
		return
	}
	m.Status = StatusRange{least, most}
}
