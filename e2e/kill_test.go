package e2e

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/spklab/spklab/roottest"
)

// TestKillUpAtAnyMoment kills `spklab up` at ten random moments. Taking the lab down has to leave
// nothing each time. In every other turn prune comes first: it removes what is half-made, and
// leaves alone a lab that was whole already, which then has to be one that works.
func TestKillUpAtAnyMoment(t *testing.T) {
	roottest.Need(t)
	const lab = "e2e-kill"
	begun := time.Now()
	mustSpklab(t, "up", "spk", "--name", lab)
	whole := time.Since(begun)
	mustSpklab(t, "down", lab)
	seed := uint64(begun.UnixNano())
	t.Logf("an undisturbed up takes %s; seed %d", whole.Round(time.Millisecond), seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for turn := range 10 {
		moment := time.Duration(random.Int64N(int64(whole)))
		killUp(t, lab, moment)
		how := "down"
		if turn%2 == 1 {
			how = "prune"
			mustSpklab(t, "prune")
			if len(leftovers(t, lab)) > 0 {
				how = "prune left a whole lab alone, down"
				mustSpklab(t, "up", "spk", "--name", lab)
			}
		}
		mustSpklab(t, "down", lab)
		left := leftovers(t, lab)
		for _, l := range left {
			t.Errorf("killed after %s, then %s: left behind: %s", moment.Round(time.Millisecond), how, l)
		}
		t.Logf("killed after %s, then %s: %d things left", moment.Round(time.Millisecond), how, len(left))
	}
}

// killUp starts `spklab up` and kills it with SIGKILL after the delay.
func killUp(t *testing.T, lab string, delay time.Duration, flags ...string) {
	t.Helper()
	cmd := command(context.Background(), append([]string{"up", "spk", "--name", lab}, flags...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	<-timer.C
	_ = cmd.Process.Kill() // it may have ended by itself in this very moment
	_ = cmd.Wait()         // killed is what it should have been
}
