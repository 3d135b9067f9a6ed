package regress

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spklab/spklab/scenarios/report"
)

// trait is one thing that two runs have in common or not.
type trait struct{ name, base, run string }

func (t trait) String() string { return fmt.Sprintf("%s was %q, is %q", t.name, t.base, t.run) }

func differing(traits ...trait) []string {
	var out []string
	for _, t := range traits {
		if t.base != t.run {
			out = append(out, t.String())
		}
	}
	return out
}

// strangers are the reasons why figures of the two runs cannot be compared: the fingerprint of a
// platform is its kernel, architecture and processors, and of a lab its topology, backend and
// profile. Versions of packages are none: a package that made the lab slower is to be found.
func strangers(base, run report.Run) []string {
	a, b := base.Platform, run.Platform
	return differing(
		trait{"kernel", a.Kernel, b.Kernel}, trait{"architecture", a.Arch, b.Arch},
		trait{"processor", a.CPU, b.CPU}, trait{"number of processors", fmt.Sprint(a.CPUs), fmt.Sprint(b.CPUs)},
		trait{"topology", base.Topology, run.Topology}, trait{"backend", base.Backend, run.Backend}, trait{"profile", base.Profile, run.Profile},
	)
}

// notes are what else differs between the runs, and may be why something is not as it was.
func notes(base, run report.Run) []string {
	out := strangers(base, run)
	for i := range out {
		out[i] += ": figures are not compared"
	}
	if base.Digest != run.Digest && base.Digest != "" && run.Digest != "" {
		out = append(out, "the lab file or its manifests are other ones")
	}
	names := slices.Sorted(maps.Keys(base.Platform.Packages))
	for _, n := range names {
		if now, ok := run.Platform.Packages[n]; ok {
			out = append(out, differing(trait{"package " + n, base.Platform.Packages[n], now})...)
		}
	}
	return append(out, differing(trait{"spklab", base.Spklab, run.Spklab})...)
}
