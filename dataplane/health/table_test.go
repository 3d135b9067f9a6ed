package health

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/ctl"
)

func target(n int) Target {
	return Target{
		Member:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 131, byte(n >> 8), byte(n)}), 8080),
		Monitor: Monitor{Kind: TCP, Interval: 5 * time.Second, Timeout: 2 * time.Second, Rise: 2, Fall: 3},
	}
}

func TestNext(t *testing.T) {
	now := time.Unix(1000, 0)
	m := Monitor{Rise: 2, Fall: 3}
	for _, tt := range []struct {
		name    string
		results string // + success, - failure
		want    string // the state after each: ? u d
	}{
		{"first success is enough", "+", "u"},
		{"unknown until it has failed often enough", "---", "??d"},
		{"up until it has failed often enough", "+--+---", "uuuuuud"},
		{"down until it has answered often enough", "---+-++", "??ddddu"},
		{"failures are counted in a row", "+--+--+--+", "uuuuuuuuuu"},
		{"unknown, then a success", "--+", "??u"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := Status{State: Unknown}
			got := ""
			for i, r := range tt.results {
				var err error
				if r == '-' {
					err = errors.New("refused")
				}
				was := s
				s = s.next(m, now.Add(time.Duration(i)*time.Second), time.Millisecond, err)
				got += map[State]string{Unknown: "?", Up: "u", Down: "d"}[s.State]
				if s.State != was.State && !s.Since.Equal(s.Checked) || s.State == was.State && s.Since != was.Since {
					t.Errorf("result %d: %s since %v, checked %v", i, s.State, s.Since, s.Checked)
				}
				if (s.LastError == "") != (r == '+') {
					t.Errorf("result %d: last error %q", i, s.LastError)
				}
			}
			if got != tt.want {
				t.Errorf("states %s, want %s", got, tt.want)
			}
		})
	}
}

// TestRhythm follows one member through a failure on a clock of its own.
func TestRhythm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		var probes, changes atomic.Int64
		log := ctl.NewLog("test")
		table := NewTable(Config{
			Log: log, Changed: func() { changes.Add(1) },
			Probe: func(context.Context, Target) error {
				probes.Add(1)
				if broken.Load() {
					return errors.New("connection refused")
				}
				time.Sleep(3 * time.Millisecond)
				return nil
			},
		})
		defer table.Close()
		one := target(1)
		state := func() Status { synctest.Wait(); return table.States()[one] }
		table.Set([]Target{one})
		if got := state().State; got != Unknown {
			t.Errorf("before the first probe: %s", got)
		}
		time.Sleep(firstWithin + 3*time.Millisecond)
		if got := state(); got.State != Up || got.Latency != 3*time.Millisecond {
			t.Errorf("after the first probe: %+v", got)
		}
		broken.Store(true)
		time.Sleep(2 * 5500 * time.Millisecond)
		if got := state(); got.State != Up || got.LastError == "" {
			t.Errorf("after at most two failures of three: %+v", got)
		}
		time.Sleep(2 * 5500 * time.Millisecond)
		if got := state(); got.State != Down || got.LastError != "connection refused" {
			t.Errorf("after three failures: %+v", got)
		}
		broken.Store(false)
		time.Sleep(2*5500*time.Millisecond + 3*time.Millisecond)
		if got := state(); got.State != Up || got.LastError != "" {
			t.Errorf("after two successes: %+v", got)
		}
		before := probes.Load()
		time.Sleep(1000 * time.Second)
		if n := probes.Load() - before; n < 180 || n > 223 {
			t.Errorf("%d probes in 1000 s, want about 200", n)
		}
		table.Set(nil)
		synctest.Wait()
		before = probes.Load()
		time.Sleep(time.Minute)
		if n := probes.Load() - before; n != 0 || len(table.States()) != 0 {
			t.Errorf("%d probes and %d states after the target was taken out", n, len(table.States()))
		}
		var kinds []string
		for _, e := range log.Events() {
			kinds = append(kinds, e.Kind+" "+e.Object)
		}
		const member = " 10.131.0.1:8080"
		if diff := cmp.Diff([]string{EventUp + member, EventDown + member, EventUp + member}, kinds); diff != "" || changes.Load() != 3 {
			t.Errorf("%d changes, events (-want +got):\n%s", changes.Load(), diff)
		}
	})
}

// TestTimeoutBoundsAProbe has a member that never answers.
func TestTimeoutBoundsAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewTable(Config{Probe: func(ctx context.Context, _ Target) error {
			<-ctx.Done()
			return ctx.Err()
		}})
		defer table.Close()
		one := target(1)
		one.Monitor.Fall = 1
		table.Set([]Target{one})
		time.Sleep(firstWithin + one.Monitor.Timeout)
		synctest.Wait()
		if got := table.States()[one].State; got != Down {
			t.Errorf("%s after the timeout", got)
		}
	})
}

// TestThousandMembers counts what is under way at once, and that none starves.
func TestThousandMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const members, at = 1000, 64
		var mu sync.Mutex
		now, most := 0, 0
		probed := map[Target]int{}
		table := NewTable(Config{Concurrency: at, Probe: func(_ context.Context, target Target) error {
			mu.Lock()
			now++
			most = max(most, now)
			probed[target]++
			mu.Unlock()
			time.Sleep(100 * time.Millisecond)
			mu.Lock()
			now--
			mu.Unlock()
			return nil
		}})
		var targets []Target
		for i := range members {
			targets = append(targets, target(i))
		}
		table.Set(targets)
		time.Sleep(20 * time.Second)
		if err := table.Close(); err != nil {
			t.Fatal(err)
		}
		if most != at {
			t.Errorf("%d probes at once, want %d", most, at)
		}
		if least := slices.Min(slices.Collect(maps.Values(probed))); len(probed) != members || least < 3 {
			t.Errorf("%d members probed, the least often %d times in 20 s", len(probed), least)
		}
	})
}

// TestSetKeepsWhatStays changes the set under a member that is up.
func TestSetKeepsWhatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewTable(Config{Probe: func(context.Context, Target) error { return nil }})
		table.Set([]Target{target(1), target(2)})
		time.Sleep(time.Second)
		synctest.Wait()
		was := table.States()[target(1)]
		table.Set([]Target{target(1), target(3)})
		got := table.States()
		if got[target(1)] != was || was.State != Up || got[target(3)].State != Unknown || len(got) != 2 {
			t.Errorf("states %v", got)
		}
		if err := table.Close(); err != nil {
			t.Fatal(err)
		}
		table.Set([]Target{target(4)})
		if n := len(table.States()); n != 0 {
			t.Errorf("%d targets after Close", n)
		}
	})
}

// TestCutOffProbeSaysNothing takes a target out while its probe is under way.
func TestCutOffProbeSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := ctl.NewLog("test")
		table := NewTable(Config{Log: log, Probe: func(ctx context.Context, _ Target) error {
			<-ctx.Done()
			return fmt.Errorf("dial: %w", ctx.Err())
		}})
		one := target(1)
		one.Monitor.Fall = 1
		table.Set([]Target{one})
		time.Sleep(firstWithin)
		synctest.Wait()
		table.Set(nil)
		table.Set([]Target{one})
		synctest.Wait()
		if got := table.States()[one]; got.State != Unknown || len(log.Events()) != 0 {
			t.Errorf("%+v, events %v", got, log.Events())
		}
		_ = table.Close() // the fake probes end with their contexts
	})
}
