package bench

import (
	"cmp"
	"slices"
	"time"

	"golang.org/x/perf/benchmath"
)

// Report is what a run of the benchmarks found out. It is what `spklab bench -o json` prints.
type Report struct {
	Started  time.Time `json:"started"`
	Took     float64   `json:"took_s"`
	Machine  Machine   `json:"machine"`
	Rounds   int       `json:"rounds"`
	Quick    bool      `json:"quick,omitempty"` // too short to judge by
	Sections []string  `json:"sections"`
	// Figures are what was measured, one sample a round.
	Figures []Figure `json:"figures"`
	// Ratios compare two figures round by round.
	Ratios []Ratio `json:"ratios"`
	// Targets are what the project promises, and what was seen.
	Targets []Target `json:"targets"`
	// Notes say what was left out and why.
	Notes []string `json:"notes,omitempty"`
}

// Machine is where the benchmarks ran. Only ratios travel from one to another.
type Machine struct {
	Kernel string `json:"kernel"`
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Memory int64  `json:"memory_bytes"`
}

// Figure is one measured quantity.
type Figure struct {
	Section string `json:"section"`
	Name    string `json:"name"`
	Unit    string `json:"unit"`
	// Samples are one a round, in order.
	Samples []float64 `json:"samples"`
	Spread
}

// Spread is the median of samples with its quartiles.
type Spread struct {
	Median float64 `json:"median"`
	P25    float64 `json:"p25"`
	P75    float64 `json:"p75"`
}

// Ratio is one figure divided by another, within each round.
type Ratio struct {
	Section string    `json:"section"`
	Name    string    `json:"name"` // of the figure
	To      string    `json:"to"`   // the figure that it is divided by
	Samples []float64 `json:"samples"`
	Spread
	// P is the probability of such a difference between the two figures, were they the same
	// (Mann-Whitney U test); -1 where there are too few samples to say.
	P float64 `json:"p"`
}

// Target is one promise about a ratio or a count.
type Target struct {
	Name string  `json:"name"`
	Rule string  `json:"rule"` // "<=", ">=" or "=="
	Want float64 `json:"want"`
	Seen float64 `json:"seen"`
	Met  bool    `json:"met"`
	// Spread of a ratio; zero for a count.
	Spread Spread `json:"spread"`
}

// spreadOf takes quartiles by linear interpolation.
func spreadOf(samples []float64) Spread {
	s := slices.Sorted(slices.Values(samples))
	at := func(q float64) float64 {
		if len(s) == 0 {
			return 0
		}
		pos := q * float64(len(s)-1)
		i := int(pos)
		return s[i] + (pos-float64(i))*(s[min(i+1, len(s)-1)]-s[i])
	}
	return Spread{Median: at(0.5), P25: at(0.25), P75: at(0.75)}
}

// minSamples is how many samples a significance takes; with fewer no difference can be
// significant at the usual 5 %.
const minSamples = 4

// ratioOf divides round by round.
func ratioOf(a, b Figure) Ratio {
	r := Ratio{Section: a.Section, Name: a.Name, To: b.Name, P: -1}
	n := min(len(a.Samples), len(b.Samples))
	for i := range n {
		if b.Samples[i] != 0 {
			r.Samples = append(r.Samples, a.Samples[i]/b.Samples[i])
		}
	}
	r.Spread = spreadOf(r.Samples)
	if n >= minSamples {
		th := benchmath.DefaultThresholds
		x, y := benchmath.NewSample(slices.Clone(a.Samples), &th), benchmath.NewSample(slices.Clone(b.Samples), &th)
		r.P = benchmath.AssumeNothing.Compare(x, y).P
	}
	return r
}

// figure finds or makes a figure.
func (r *Report) figure(section, name, unit string) *Figure {
	i := slices.IndexFunc(r.Figures, func(f Figure) bool { return f.Section == section && f.Name == name })
	if i < 0 {
		r.Figures = append(r.Figures, Figure{Section: section, Name: name, Unit: unit})
		i = len(r.Figures) - 1
	}
	return &r.Figures[i]
}

// add notes a sample.
func (r *Report) add(section, name, unit string, sample float64) {
	f := r.figure(section, name, unit)
	f.Samples = append(f.Samples, sample)
	f.Spread = spreadOf(f.Samples)
}

// find returns a figure, and whether there is one.
func (r *Report) find(section, name string) (Figure, bool) {
	i := slices.IndexFunc(r.Figures, func(f Figure) bool { return f.Section == section && f.Name == name })
	if i < 0 {
		return Figure{}, false
	}
	return r.Figures[i], true
}

// compare notes the ratio of two figures that exist, and returns it.
func (r *Report) compare(section, name, to string) (Ratio, bool) {
	a, okA := r.find(section, name)
	b, okB := r.find(section, to)
	if !okA || !okB {
		return Ratio{}, false
	}
	ratio := ratioOf(a, b)
	r.Ratios = append(r.Ratios, ratio)
	return ratio, len(ratio.Samples) > 0
}

// target notes a promise about the ratio of two figures, if both were measured.
func (r *Report) target(what, section, name, to, rule string, want float64) {
	i := slices.IndexFunc(r.Ratios, func(x Ratio) bool { return x.Section == section && x.Name == name && x.To == to })
	if i < 0 {
		if _, ok := r.compare(section, name, to); !ok {
			return
		}
		i = len(r.Ratios) - 1
	}
	r.promise(what, rule, want, r.Ratios[i].Spread)
}

// promise notes what was seen of a promise.
func (r *Report) promise(what, rule string, want float64, seen Spread) {
	c := cmp.Compare(seen.Median, want)
	met := map[string]bool{"<=": c <= 0, ">=": c >= 0, "==": c == 0}[rule]
	r.Targets = append(r.Targets, Target{Name: what, Rule: rule, Want: want, Seen: seen.Median, Met: met, Spread: seen})
}

// SectionsOf lists the sections of the figures in the order in which they were measured.
func (r *Report) SectionsOf() []string {
	var out []string
	for _, f := range r.Figures {
		if !slices.Contains(out, f.Section) {
			out = append(out, f.Section)
		}
	}
	return out
}
