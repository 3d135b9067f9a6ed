package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/internal/space"
)

// sectionEnds: real connections from a client to a backend.
const sectionEnds = "end to end"

// endToEnd is one load balancer between a client and servers.
type endToEnd struct {
	*network
	server *echoServer
	sink   int // socket that the datagrams reach
}

// runEnds is the section.
func runEnds(ctx context.Context, o Options, r *Report) error {
	var all []*endToEnd
	var err error
	for _, m := range modes() {
		var e *endToEnd
		if e, err = newEndToEnd(m); err != nil {
			break
		}
		all = append(all, e)
	}
	if err == nil {
		err = endRounds(ctx, o, r, all)
	}
	for _, e := range all {
		err = errors.Join(err, e.close())
	}
	return err
}

// endMeasure is one thing that is measured end to end.
type endMeasure struct {
	name string
	run  func(*endToEnd, *Report, time.Duration) error
}

func endMeasures() []endMeasure {
	return []endMeasure{
		{"connections", (*endToEnd).connections}, {"requests", (*endToEnd).requests},
		{"stream", (*endToEnd).stream}, {"datagrams", (*endToEnd).datagrams},
	}
}

func endRounds(ctx context.Context, o Options, r *Report, all []*endToEnd) error {
	duration := time.Second
	if o.Quick {
		duration = 200 * time.Millisecond
	}
	for round := range o.Rounds {
		for _, m := range endMeasures() {
			for _, e := range all {
				if err := ctx.Err(); err != nil {
					return err
				}
				o.progress("end to end: round %d of %d, %s, %s", round+1, o.Rounds, m.name, e.mode.name)
				if err := m.run(e, r, duration); err != nil {
					return fmt.Errorf("%s, %s: %w", e.mode.name, m.name, err)
				}
			}
		}
	}
	for _, what := range endFigures() {
		for _, e := range all[1:] {
			r.compare(sectionEnds, endName(e.mode.name, what), endName("plain", what))
		}
		for _, proxy := range []string{"tcx", "xdp"} {
			r.compare(sectionEnds, endName(proxy, what), endName("haproxy", what))
		}
	}
	return nil
}

func endName(mode, what string) string { return mode + ", " + what }

// The figures, as they are called after the mode.
const (
	connRate, connP50, connP99 = "connections/s", "connection p50", "connection p99"
	reqRate, reqP50, reqP99    = "requests/s", "request p50", "request p99"
	streamRate, datagramRate   = "stream", "datagrams/s"
)

func endFigures() []string {
	return []string{connRate, connP50, connP99, reqRate, reqP50, reqP99, streamRate, datagramRate}
}

// newEndToEnd makes a load balancer with everything that is asked through it.
func newEndToEnd(m mode) (*endToEnd, error) {
	n, err := newNetwork(m, "")
	if err != nil {
		return nil, err
	}
	e := &endToEnd{network: n, sink: -1}
	if err := e.serve(); err != nil {
		return nil, errors.Join(fmt.Errorf("serve behind %s: %w", m.name, err), e.close())
	}
	return e, nil
}

func (e *endToEnd) serve() error {
	for _, ns := range []*space.Namespace{e.client, e.lb, e.far} {
		if err := ns.Do(tuneTCP); err != nil {
			return err
		}
	}
	var err error
	if e.server, err = startServer(e.far, requestPort); err != nil {
		return err
	}
	err = e.far.Do(func() error {
		var err error
		if e.sink, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Bind(e.sink, &unix.SockaddrInet4{Port: packetPort})
	})
	if err != nil {
		return err
	}
	if err := e.start(e.far, "iperf3", "-s", "-p", strconv.Itoa(streamPort)); err != nil {
		return err
	}
	if err := e.answers(requestPort); err != nil {
		return err
	}
	return e.answers(streamPort)
}

// tuneTCP makes TCP in the caller's network namespace the same on every machine.
func tuneTCP() error {
	// A connection a port and second is what RFC 6191 allows.
	if err := sysctl("net/ipv4/tcp_tw_reuse", "1"); err != nil {
		return err
	}
	return sysctl("net/ipv4/tcp_congestion_control", "reno") // every kernel has it, every namespace may use it
}

func (e *endToEnd) close() error {
	var err error
	if e.server != nil {
		err = e.server.close()
	}
	if e.sink >= 0 {
		err = errors.Join(err, unix.Close(e.sink))
	}
	return errors.Join(err, e.network.close())
}

func (e *endToEnd) load(port uint16, workers int, d time.Duration) load {
	return load{ns: e.client, to: netip.AddrPortFrom(e.destination(), port), workers: workers, duration: d}
}

// workers of a client, enough to keep two CPUs busy.
const workers = 4

func (e *endToEnd) connections(r *Report, d time.Duration) error {
	s, err := e.load(requestPort, workers, d).connections()
	if err != nil {
		return err
	}
	if s.faults > s.count/100 {
		return fmt.Errorf("%d of %d connections failed", s.faults, s.count+s.faults)
	}
	e.add(r, s, connRate, connP50, connP99)
	return nil
}

func (e *endToEnd) requests(r *Report, d time.Duration) error {
	s, err := e.load(requestPort, workers, d).requests()
	if err != nil {
		return err
	}
	e.add(r, s, reqRate, reqP50, reqP99)
	return nil
}

func (e *endToEnd) add(r *Report, s served, rate, p50, p99 string) {
	r.add(sectionEnds, endName(e.mode.name, rate), "1/s", s.rate)
	r.add(sectionEnds, endName(e.mode.name, p50), "µs", s.p50)
	r.add(sectionEnds, endName(e.mode.name, p99), "µs", s.p99)
}

// stream has iperf3 send one TCP stream for a second or longer.
func (e *endToEnd) stream(r *Report, d time.Duration) error {
	seconds := strconv.Itoa(max(1, int(d/time.Second)))
	cmd := exec.Command("iperf3", "-J", "-c", e.destination().String(), "-p", strconv.Itoa(streamPort), "-t", seconds)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := e.client.Start(cmd); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("iperf3: %w: %s", err, out.String())
	}
	var result struct {
		End struct {
			Received struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal(out.Bytes(), &result); err != nil {
		return fmt.Errorf("read what iperf3 says: %w", err)
	}
	r.add(sectionEnds, endName(e.mode.name, streamRate), "Gb/s", result.End.Received.BitsPerSecond/1e9)
	return nil
}

// datagrams floods the backend; what counts is what reaches the socket there, read or not.
func (e *endToEnd) datagrams(r *Report, d time.Duration) error {
	if e.mode.tcp {
		return nil
	}
	before, err := e.received()
	if err != nil {
		return err
	}
	began := time.Now()
	sent, err := e.load(packetPort, 1, d).flood()
	if err != nil {
		return err
	}
	took := time.Since(began).Seconds()
	after, err := e.received()
	if err != nil {
		return err
	}
	if after == before {
		return fmt.Errorf("none of %d datagrams has reached the backend", sent)
	}
	r.add(sectionEnds, endName(e.mode.name, datagramRate), "1/s", float64(after-before)/took)
	return nil
}

// received is how many datagrams have reached the backend's socket, those without room among them.
func (e *endToEnd) received() (uint64, error) {
	var total uint64
	err := e.far.Do(func() error {
		b, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			return fmt.Errorf("count datagrams: %w", err)
		}
		var names []string
		for line := range strings.Lines(string(b)) {
			rest, ok := strings.CutPrefix(line, "Udp: ")
			if !ok {
				continue
			}
			if names == nil {
				names = strings.Fields(rest)
				continue
			}
			for i, v := range strings.Fields(rest) {
				if names[i] == "InDatagrams" || names[i] == "RcvbufErrors" {
					n, err := strconv.ParseUint(v, 10, 64)
					if err != nil {
						return fmt.Errorf("count datagrams: %w", err)
					}
					total += n
				}
			}
		}
		return nil
	})
	return total, err
}
