package fabric_test

import (
	"slices"
	"testing"

	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/topo/fabric"
)

// TestPrivateRoot: with a private root every process that runs or serves what is of OVN's release is
// told of it, and no other.
func TestPrivateRoot(t *testing.T) {
	for backend, want := range map[string]int{
		topo.BackendReal:      3 + 2*4, // databases and northd; each worker's daemons and set-up
		topo.BackendRealOnSim: 3 + 2*4, // our server serves the release's schema
	} {
		t.Run(backend, func(t *testing.T) {
			l, err := fabric.Load("../../lab/topologies/spk/spk.spklab.yml")
			if err != nil {
				t.Fatal(err)
			}
			if l, err = l.WithBackend(backend); err != nil {
				t.Fatal(err)
			}
			d, err := fabric.Of(l)
			if err != nil {
				t.Fatal(err)
			}
			rooted := func(env fabric.Env) (n int) {
				steps := d.Cluster(l, env)
				for _, w := range l.Workers {
					steps = append(steps, d.Node(l, w, env)...)
				}
				for _, s := range steps {
					if s.Process == nil {
						continue
					}
					if i := slices.Index(s.Process.Argv, "--root"); i >= 0 && s.Process.Argv[i+1] == "/cache/ovn" {
						n++
					}
				}
				return n
			}
			if got := rooted(fabric.Env{StateDir: "/run/spklab/spk", OVNRoot: "/cache/ovn"}); got != want {
				t.Errorf("%d processes with the root, want %d", got, want)
			}
			if got := rooted(fabric.Env{StateDir: "/run/spklab/spk"}); got != 0 {
				t.Errorf("%d processes with a root, want none", got)
			}
		})
	}
}
