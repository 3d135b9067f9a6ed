package scenarios

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/scenarios/record"
	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/traffic"
)

// What scenarios attach to their Ginkgo reports beside figures and evidence.
type (
	artifact string       // path relative to the artefact directory
	missing  []Capability // that the scenario lacked
)

// patience bounds one attempt at something, and what is waited for outside of eventually.
const patience = 20 * time.Second

// longest is how long eventually waits: a connection that has ended is counted for 10 to 15 s by itself.
const longest = 2 * patience

// poll is how often a wait looks.
const poll = 20 * time.Millisecond

// scene is one run of one scenario. Its methods fail the scenario; they return no errors.
type scene struct {
	ctx   context.Context
	env   Env
	lab   *lab.Lab
	marks atomic.Int64
}

func newScene(ctx context.Context, env Env) *scene {
	return &scene{ctx: ctx, env: env, lab: env.Lab}
}

// must returns v, or fails the scenario.
func must[T any](v T, err error) T {
	ginkgo.GinkgoHelper()
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return v
}

// check fails the scenario on an error; what says what was being done.
func check(err error, what string) {
	ginkgo.GinkgoHelper()
	gomega.Expect(err).NotTo(gomega.HaveOccurred(), what)
}

// figure attaches a number to the verdict.
func (s *scene) figure(f report.Figure) {
	s.env.rec.add(record.Record{Kind: record.Measured, Figure: &f})
	ginkgo.AddReportEntry("figure", ginkgo.ReportEntryVisibilityNever, f)
}

// evidence attaches what was seen.
func (s *scene) evidence(e report.Evidence) {
	s.env.rec.add(record.Record{Kind: record.Showed, Evidence: &e})
	ginkgo.AddReportEntry("evidence", ginkgo.ReportEntryVisibilityNever, e)
}

// marker is a payload that nothing else on the wire carries.
func (s *scene) marker() []byte {
	return fmt.Appendf(nil, "<spklab %s %d>", time.Now().Format("150405.000000"), s.marks.Add(1))
}

// step is a named part of the scenario.
func (s *scene) step(name string, f func()) {
	ended := s.env.rec.step(name)
	defer ended()
	f()
}

// eventually waits until f returns nil, and fails the scenario with f's last error otherwise. Every
// answer that differs from the one before is written down with its time.
func (s *scene) eventually(what string, f func() error) {
	ginkgo.GinkgoHelper()
	ctx, cancel := context.WithTimeout(s.ctx, longest)
	defer cancel()
	began := ctl.Now()
	for {
		err := f()
		if err == nil {
			s.env.rec.held(what, time.Duration(ctl.Now()-began))
			return
		}
		s.env.rec.observed(what, err.Error())
		select {
		case <-ctx.Done():
			took := time.Duration(ctl.Now() - began).Round(time.Millisecond)
			s.env.rec.refuse(report.Check{Name: what, Expected: "within " + longest.String(), Got: err.Error(), At: ctl.Now(), Location: spot(types.NewCodeLocation(0))},
				fmt.Sprintf("not within %s: %v", took, err))
			return
		case <-time.After(poll):
		}
	}
}

// cleanup runs f when the scenario has ended, however it ended, with a context of its own.
func (s *scene) cleanup(what string, f func(context.Context) error) {
	ginkgo.DeferCleanup(func(ctx ginkgo.SpecContext) {
		defer s.env.rec.step(what)()
		check(f(ctx), what)
	}, ginkgo.NodeTimeout(limit))
}

// ready waits until the lab lacks nothing.
func (s *scene) ready(ctx context.Context) error { return nothing(ctx, s.lab.Missing) }

// nothing waits until ask names nothing that lacks.
func nothing(ctx context.Context, ask func(context.Context) ([]string, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var lacks []string
	for {
		now, err := ask(ctx)
		if err == nil && len(now) == 0 {
			return nil
		}
		if ctx.Err() == nil {
			lacks = now // an answer that the deadline cut off says less than the one before
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the lab does not become ready: it lacks %s", strings.Join(lacks, "; "))
		case <-time.After(poll):
		}
	}
}

// capture starts a capture on every interface of interest. It ends with the scenario and is
// kept as Env.Pcap says.
func (s *scene) capture(w *world) *evidence.Capture {
	ginkgo.GinkgoHelper()
	return s.captureAt(w.points())
}

// captureAt is capture at some points alone.
func (s *scene) captureAt(points []evidence.Point) *evidence.Capture {
	ginkgo.GinkgoHelper()
	c := must(evidence.Start(points, 0))
	stopped := false
	ginkgo.DeferCleanup(func() {
		if stopped {
			return
		}
		stopped = true
		trace, err := c.Stop()
		check(err, "stop capture")
		s.keep(trace)
	})
	return c
}

// keep writes a trace where it is wanted.
func (s *scene) keep(trace *evidence.Trace) {
	r := ginkgo.CurrentSpecReport()
	if s.env.Artifacts == "" || s.env.Pcap == PcapOff || s.env.Pcap != PcapAlways && !r.Failed() {
		return
	}
	check(os.MkdirAll(filepath.Join(s.env.Artifacts, "pcap"), 0o755), "make directory for captures")
	name := artifact(filepath.Join("pcap", report.Slug(group(r)+" "+r.LeafNodeText)+".pcapng"))
	check(trace.SavePcapng(filepath.Join(s.env.Artifacts, string(name))), "keep capture")
	s.env.rec.add(record.Record{Kind: record.Kept, Artifact: string(name)})
	ginkgo.AddReportEntry("artifact", ginkgo.ReportEntryVisibilityNever, name)
}

// complete is what the capture has seen so far; a trace with losses proves nothing.
func complete(c *evidence.Capture) *evidence.Trace {
	ginkgo.GinkgoHelper()
	t := must(c.Trace())
	gomega.Expect(t.Lost).To(gomega.BeZero(), "packets that the capture lost")
	return t
}

// serve runs the application at a client until the scenario ends, and returns where it is
// reached over the protocol. The port is another one each time: a flow from an earlier scenario
// that somebody still remembers would be no new one.
func (s *scene) serve(c client, proto string, f family) netip.AddrPort {
	ginkgo.GinkgoHelper()
	var srv *traffic.Server
	check(s.inNetns(c.name, func() (err error) {
		srv, err = traffic.Listen("outside/"+c.name, []uint16{0}, []uint16{0})
		return err
	}), "serve at "+c.name)
	ginkgo.DeferCleanup(func() { check(srv.Close(), "close the server at "+c.name) })
	tcp, udp := srv.Ports()
	if proto == "udp" {
		return netip.AddrPortFrom(f.of(c.addrs), udp[0])
	}
	return netip.AddrPortFrom(f.of(c.addrs), tcp[0])
}

// netns is the namespace of a node.
func (s *scene) netns(node string) string { return s.lab.Runtime().Netns(node) }

// dialer dials from a node.
func (s *scene) dialer(node string) traffic.Dialer { return traffic.Dialer{Netns: s.netns(node)} }

// dial opens a connection over tcp or udp and, for both, has one marker echoed, so that the
// greeting is known and the way is warm.
func (s *scene) dial(from, proto string, to netip.AddrPort) *traffic.Conn {
	ginkgo.GinkgoHelper()
	c, err := s.tryDial(from, proto, to)
	check(err, fmt.Sprintf("%s to %s over %s", from, to, proto))
	ginkgo.DeferCleanup(func() { _ = c.Close() }) // a scenario may have closed it itself
	return c
}

// tryDial is dial for connections that may fail; the caller closes what it gets.
func (s *scene) tryDial(from, proto string, to netip.AddrPort) (*traffic.Conn, error) {
	d := s.dialer(from)
	open := d.TCP
	if proto == "udp" {
		open = d.UDP
	}
	c, err := open(s.ctx, netip.AddrPort{}, to)
	if err != nil {
		return nil, err
	}
	if err := c.Echo(s.marker()); err != nil {
		_ = c.Close() // the echo's error says more
		return nil, err
	}
	return c, nil
}

// run runs a command in a node and returns its standard output; any failure fails the scenario.
func (s *scene) run(node string, argv ...string) string {
	ginkgo.GinkgoHelper()
	defer s.env.rec.step(node + ": " + strings.Join(argv, " "))()
	out, err := s.output(s.ctx, node, argv...)
	check(err, "in "+node)
	return out
}

func (s *scene) output(ctx context.Context, node string, argv ...string) (string, error) {
	cmd, err := s.lab.Exec(ctx, node, argv)
	if err != nil {
		return "", err
	}
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	code, err := cmd.Run()
	if err != nil || code != 0 {
		return out.String(), fmt.Errorf("%s in %s: exit code %d, %v: %s%s", strings.Join(argv, " "), node, code, err, errs.String(), out.String())
	}
	return out.String(), nil
}
