package bench

import (
	"fmt"
	"strings"
	"testing"

	"github.com/spklab/spklab/dataplane/internal/frame"
	"github.com/spklab/spklab/roottest"
)

// TestWrapper: each packet that comes out of the wrapper is one of the connections', in turn,
// rewritten as the connection says and with right checksums.
func TestWrapper(t *testing.T) {
	roottest.Need(t)
	const n = 64
	err := withTestRuns(Options{}, &Report{}, n, func(m *testRuns) error {
		for front, w := range m.wraps {
			for _, k := range kinds() {
				for _, d := range directions() {
					t.Run(fmt.Sprintf("%s %s %s", front, k, d.name), func(t *testing.T) { m.checkPackets(t, w, k, d, n) })
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// checkPackets enters the namespace by itself: a subtest has a thread of its own.
func (m *testRuns) checkPackets(t *testing.T, w *wrapper, k kind, d direction, n int) {
	template, flows := m.flows(k, d, n)
	want, seen := map[flow]bool{}, map[flow]bool{}
	for _, c := range m.conns[k][:n] {
		if d.from == external {
			want[c.back.reversed()] = true
		} else {
			want[c.out.reversed()] = true
		}
	}
	err := m.tmm.ns.Do(func() error {
		if err := w.load(k, template, flows); err != nil {
			return err
		}
		// A run that a signal interrupts begins anew, and its flow has to come round again.
		for runs := 0; len(seen) < n && runs < 10*n; runs++ {
			o, err := w.run(m.tmm.progs[w.front][d.from], template, m.tmm.ports[d.from].index, 1)
			if err != nil {
				return err
			}
			if !forwards(w.front, o.verdict) {
				return fmt.Errorf("verdict %d: %w", int32(o.verdict), errNotForwarded)
			}
			if err := frame.Verify(o.frame); err != nil {
				t.Errorf("%s: %v", frame.Show(o.frame), err)
			}
			got := k.get(o.frame)
			if !want[got] {
				t.Errorf("unexpected: %v", got)
			}
			seen[got] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) != n {
		t.Errorf("%d of %d flows have had a packet", len(seen), n)
	}
}

// TestRepeat: after thousands of repetitions the packet is still rewritten from the template, not
// from what the repetition before left of it.
func TestRepeat(t *testing.T) {
	roottest.Need(t)
	err := withTestRuns(Options{}, &Report{}, 1, func(m *testRuns) error {
		for front, w := range m.wraps {
			for _, k := range kinds() {
				template, flows := m.flows(k, directions()[0], 1)
				if err := w.load(k, template, flows); err != nil {
					return err
				}
				index := m.tmm.ports[external].index
				once, err := w.run(m.tmm.progs[front][external], template, index, 1)
				if err != nil {
					return err
				}
				often, err := w.run(m.tmm.progs[front][external], template, index, 5000)
				if err != nil {
					return err
				}
				if string(once.frame) != string(often.frame) || often.packets < 5000 {
					t.Errorf("%s %s: %d packets\nonce  %s\noften %s", front, k, often.packets, frame.Show(once.frame), frame.Show(often.frame))
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestYardsticks: they send back what they have learned and drop the rest.
func TestYardsticks(t *testing.T) {
	roottest.Need(t)
	err := withTestRuns(Options{}, &Report{}, 8, func(m *testRuns) error {
		for front, w := range m.wraps {
			for _, k := range kinds() {
				template, known := m.flows(k, directions()[0], 8)
				for _, y := range m.sticks[1:] {
					for _, tt := range []struct {
						flow flow
						want bool
					}{{known[3], true}, {clientFlow(k, 100), false}} {
						if err := w.load(k, template, []flow{tt.flow}); err != nil {
							return err
						}
						o, err := w.run(y.program(front, k), template, m.tmm.ports[external].index, 10)
						if err != nil {
							return err
						}
						if got := forwards(front, o.verdict); got != tt.want {
							t.Errorf("%s %s %s %v: sent %v", front, k, y.name, tt.flow, got)
						}
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestSectionTestRun runs the section once: it measures everything that it compares.
func TestSectionTestRun(t *testing.T) {
	roottest.Need(t)
	r, err := Run(t.Context(), Options{Quick: true, Rounds: 1, Sections: []string{"testrun"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Targets) == 0 || len(r.Ratios) == 0 {
		t.Fatalf("%d targets, %d ratios", len(r.Targets), len(r.Ratios))
	}
	for _, f := range r.Figures {
		if len(f.Samples) != 1 || f.Median <= 0 {
			t.Errorf("%s: %v", f.Name, f.Samples)
		}
		if strings.HasSuffix(f.Name, ": proxy") && f.Median < 1 {
			t.Errorf("%s: %v ns for a packet", f.Name, f.Median)
		}
	}
}

// BenchmarkPrograms shows what a packet costs in the manner of go test: one sub-benchmark for each
// program, b.N packets. Ratios are better taken from `spklab bench`, which interleaves.
func BenchmarkPrograms(b *testing.B) {
	roottest.Need(b)
	const most = 4096
	var m *testRuns
	ready, done, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- withTestRuns(Options{}, &Report{}, most, func(made *testRuns) error {
			m = made
			close(ready)
			<-done
			return nil
		})
	}()
	select {
	case <-ready:
	case err := <-ended:
		b.Fatal(err)
	}
	for front, w := range m.wraps {
		for _, k := range kinds() {
			for _, d := range directions() {
				for _, n := range []int{1, most} {
					name := strings.ReplaceAll(fmt.Sprintf("%s/%s/%s/flows=%d", front, k, d.name, n), " ", "-")
					b.Run(name, func(b *testing.B) { m.benchmark(b, w, k, d, n) })
				}
			}
		}
	}
	close(done)
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}

func (m *testRuns) benchmark(b *testing.B, w *wrapper, k kind, d direction, n int) {
	err := m.tmm.ns.Do(func() error {
		if err := pin(m.o.CPU); err != nil {
			return err
		}
		template, flows := m.flows(k, d, n)
		if err := w.load(k, template, flows); err != nil {
			return err
		}
		b.ResetTimer()
		o, err := w.run(m.tmm.progs[w.front][d.from], template, m.tmm.ports[d.from].index, b.N)
		b.ReportMetric(o.each, "ns/packet")
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
}
