package regress_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/spklab/spklab/scenarios/regress"
	"github.com/spklab/spklab/scenarios/report"
)

// figured is a passed scenario with figures.
func figured(figures ...report.Figure) report.Scenario {
	s := scenario("a", report.Passed)
	s.Figures = figures
	return s
}

func ms(name string, samples ...float64) report.Figure {
	return report.Figure{Name: name, Unit: "ms", Samples: samples}
}

func times(by float64, samples []float64) []float64 {
	out := make([]float64, len(samples))
	for i, s := range samples {
		out[i] = by * s
	}
	return out
}

// yard is a yardstick around ten rounds, the first of which were busy.
func yard(busy int) report.Figure {
	f := ms(report.Yardstick)
	for i := range 11 {
		v := 7.0
		if i < busy {
			v = 20
		}
		f.Samples = append(f.Samples, v)
	}
	return f
}

func TestFigures(t *testing.T) {
	quiet := []float64{10, 11, 12, 10.5, 11.5, 10.2, 11.8, 12.2, 10.9, 11.1}
	burst := []float64{10, 11, 12, 10.5, 110, 102, 118, 122, 109, 111} // the machine was busy for a moment
	for _, tc := range []struct {
		name      string
		base, run []report.Figure
		change    func(base, run *report.Run)
		want      report.Trend
	}{
		{name: "the same", base: []report.Figure{ms("f", quiet...)}, run: []report.Figure{ms("f", quiet...)}, want: report.TrendSame},
		{name: "twice", base: []report.Figure{ms("f", quiet...)}, run: []report.Figure{ms("f", times(2, quiet)...)}, want: report.TrendWorse},
		{name: "half", base: []report.Figure{ms("f", quiet...)}, run: []report.Figure{ms("f", times(0.5, quiet)...)}, want: report.TrendBetter},
		{name: "certain, and too little to care", base: []report.Figure{ms("f", quiet...)}, run: []report.Figure{ms("f", times(1.35, quiet)...)}, want: report.TrendSame},
		{name: "a burst", base: []report.Figure{ms("f", quiet...)}, run: []report.Figure{ms("f", burst...)}, want: report.TrendSame},
		{name: "twice under a burst", base: []report.Figure{ms("f", quiet...)}, run: []report.Figure{ms("f", times(2, burst)...)}, want: report.TrendWorse},
		{name: "too few", base: []report.Figure{ms("f", 10, 11, 12, 10.5)}, run: []report.Figure{ms("f", 100, 110, 120, 105)}, want: report.TrendIncomparable},
		{name: "another kernel", base: []report.Figure{ms("f", quiet...)}, run: []report.Figure{ms("f", times(2, quiet)...)},
			change: func(_, run *report.Run) { run.Platform.Kernel = "6.19" }, want: report.TrendIncomparable},
		{name: "another processor", base: []report.Figure{ms("f", quiet...)}, run: []report.Figure{ms("f", times(2, quiet)...)},
			change: func(_, run *report.Run) { run.Platform.CPU = "other" }, want: report.TrendIncomparable},
		{name: "another backend", base: []report.Figure{ms("f", quiet...)}, run: []report.Figure{ms("f", times(2, quiet)...)},
			change: func(_, run *report.Run) { run.Backend = "real" }, want: report.TrendIncomparable},
		{name: "another version of a package", base: []report.Figure{ms("f", quiet...)}, run: []report.Figure{ms("f", times(2, quiet)...)},
			change: func(base, run *report.Run) {
				base.Platform.Packages, run.Platform.Packages = map[string]string{"frr": "8"}, map[string]string{"frr": "9"}
			}, want: report.TrendWorse},
		{name: "busy rounds do not count", base: []report.Figure{ms("f", quiet...), yard(0)},
			run: []report.Figure{ms("f", append(times(9, quiet[:5]), quiet[5:]...)...), yard(5)}, want: report.TrendSame},
		{name: "twice, in the rounds that count", base: []report.Figure{ms("f", quiet...), yard(0)},
			run: []report.Figure{ms("f", times(2, quiet)...), yard(4)}, want: report.TrendWorse},
		{name: "busy nearly all the time", base: []report.Figure{ms("f", quiet...), yard(0)},
			run: []report.Figure{ms("f", times(2, quiet)...), yard(6)}, want: report.TrendIncomparable},
		{name: "busy all the time", base: []report.Figure{ms("f", quiet...), yard(0)},
			run: []report.Figure{ms("f", times(2, quiet)...), yard(11)}, want: report.TrendIncomparable},
		{name: "no yardstick between the rounds", base: []report.Figure{ms("f", quiet...), ms(report.Yardstick, 1)},
			run: []report.Figure{ms("f", times(2, quiet)...), ms(report.Yardstick, 9)}, want: report.TrendWorse},
		{name: "less throughput", base: []report.Figure{{Name: "f", Unit: "Mbit/s", Samples: quiet}}, run: []report.Figure{{Name: "f", Unit: "Mbit/s", Samples: times(0.5, quiet)}}, want: report.TrendWorse},
		{name: "more of something", base: []report.Figure{{Name: "f", Samples: quiet}}, run: []report.Figure{{Name: "f", Samples: times(2, quiet)}}, want: report.TrendChanged},
		{name: "all one value", base: []report.Figure{ms("f", 0, 0, 0, 0, 0)}, run: []report.Figure{ms("f", 0, 0, 0, 0, 0)}, want: report.TrendSame},
		{name: "from nothing to something", base: []report.Figure{ms("f", make([]float64, 10)...)}, run: []report.Figure{ms("f", quiet...)}, want: report.TrendWorse},
	} {
		t.Run(tc.name, func(t *testing.T) {
			base, now := run(figured(tc.base...)), run(figured(tc.run...))
			if tc.change != nil {
				tc.change(&base, &now)
			}
			got := regress.Compare(base, now)
			for _, f := range got.Figures {
				if f.Figure == "f" && f.Trend != tc.want {
					t.Errorf("%s, want %s: %+v", f.Trend, tc.want, f)
				}
			}
			if want := tc.want == report.TrendWorse; got.Regressed != want {
				t.Errorf("regressed %v, want %v: %s", got.Regressed, want, got)
			}
		})
	}
}

// at puts a scenario on the clock, in seconds since a boot at that moment.
func at(s report.Scenario, boot time.Time, began, ended int64) report.Scenario {
	s.Began, s.Ended = began*1e9, ended*1e9
	s.Started = boot.Add(time.Duration(s.Began))
	return s
}

// TestSideBySide has a machine that is busy all the time: what counts is whether both runs had it.
func TestSideBySide(t *testing.T) {
	boot := time.Date(2026, 11, 21, 1, 0, 0, 0, time.UTC)
	samples := []float64{10, 11, 12, 10.5, 11.5, 10.2, 11.8, 12.2, 10.9, 11.1}
	for _, tc := range []struct {
		name         string
		boot         time.Time
		began, ended int64
		want         report.Trend
	}{
		{"at the same time", boot, 100, 120, report.TrendWorse},
		{"twice as long", boot, 101, 140, report.TrendWorse},
		{"mostly at the same time", boot, 104, 124, report.TrendWorse},
		{"one after the other", boot, 121, 141, report.TrendIncomparable},
		{"half of the time", boot, 110, 130, report.TrendIncomparable},
		{"on another machine", boot.Add(time.Hour), 100, 120, report.TrendIncomparable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			base := at(figured(ms("f", samples...), yard(0)), boot, 100, 120)
			now := at(figured(ms("f", times(2, samples)...), yard(11)), tc.boot, tc.began, tc.ended)
			for _, f := range regress.Compare(run(base), run(now)).Figures {
				if f.Figure == "f" && f.Trend != tc.want {
					t.Errorf("%s, want %s: %+v", f.Trend, tc.want, f)
				}
			}
		})
	}
}

// TestCorrection has one figure differ as one of a hundred does by chance.
func TestCorrection(t *testing.T) {
	base := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	now := []float64{4.5, 5.5, 6.5, 9.5, 11, 12, 13, 14, 15, 16}
	alone := regress.Compare(run(figured(ms("f", base...))), run(figured(ms("f", now...))))
	if !alone.Regressed {
		t.Errorf("alone: %+v", alone.Figures)
	}
	olds, news := []report.Figure{ms("f", base...)}, []report.Figure{ms("f", now...)}
	for i := range 50 {
		name := string(rune('A' + i))
		olds, news = append(olds, ms(name, base...)), append(news, ms(name, base...))
	}
	if many := regress.Compare(run(figured(olds...)), run(figured(news...))); many.Regressed {
		t.Errorf("among 50 others: %+v", many.Figures[0])
	}
}

// TestErrors draws samples as a network's times are: skewed, with a tail of delays that come
// together. 1000 pairs of runs of the same tree, and 1000 with one figure of eight twice as slow.
func TestErrors(t *testing.T) {
	const pairs, figures, samples = 1000, 8, 16
	rng := rand.New(rand.NewPCG(1, 2))
	draw := func(slow float64) report.Scenario {
		var out []report.Figure
		busy := rng.IntN(samples)
		for i := range figures {
			f := ms(string(rune('a' + i)))
			for j := range samples {
				v := 20 * math.Exp(0.25*rng.NormFloat64())
				if j == busy || j == busy+1 {
					v *= 1 + 3*rng.Float64()
				}
				if i == 0 {
					v *= slow
				}
				f.Samples = append(f.Samples, v)
			}
			out = append(out, f)
		}
		return figured(out...)
	}
	alarms, found := 0, 0
	for range pairs {
		if regress.Compare(run(draw(1)), run(draw(1))).Regressed {
			alarms++
		}
		if regress.Compare(run(draw(1)), run(draw(2))).Regressed {
			found++
		}
	}
	t.Logf("%d false alarms in %d pairs, %d of %d slower ones found", alarms, pairs, found, pairs)
	if alarms > pairs/1000 || found < pairs*98/100 {
		t.Errorf("%d false alarms, %d of %d found", alarms, found, pairs)
	}
}
