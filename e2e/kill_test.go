package e2e

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"
)

// TestKillUpAtAnyMoment kills `spklab up` at ten random moments. Taking the lab down, and
// pruning in every other turn, has to leave nothing each time.
func TestKillUpAtAnyMoment(t *testing.T) {
	needRoot(t)
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
		clean := []string{"down", lab}
		if turn%2 == 1 {
			clean = []string{"prune"}
		}
		mustSpklab(t, clean...)
		for _, left := range leftovers(t, lab) {
			t.Errorf("killed after %s, then %s: left behind: %s", moment.Round(time.Millisecond), clean[0], left)
		}
		if t.Failed() {
			mustSpklab(t, "down", lab)
			return
		}
		t.Logf("killed after %s, then %s: nothing left", moment.Round(time.Millisecond), clean[0])
	}
}

// killUp starts `spklab up` and kills it with SIGKILL after the delay.
func killUp(t *testing.T, lab string, delay time.Duration) {
	t.Helper()
	cmd := command(context.Background(), "up", "spk", "--name", lab)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	<-timer.C
	_ = cmd.Process.Kill() // it may have ended by itself in this very moment
	_ = cmd.Wait()         // killed is what it should have been
}
