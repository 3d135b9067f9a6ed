package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/vm/guest"
)

// TestGuestTest: the words that a guest gets for `spklab vm -- test`, and those that bring its lab up.
func TestGuestTest(t *testing.T) {
	for _, tc := range []struct {
		name, artifacts string
		flags           []string
		run, up         []string
	}{
		{"as it stands", "", nil,
			[]string{"run", "vm-test", "spk-sriov", "--inventory", "vm", "--", "test", "--label-filter", "sriov"},
			[]string{"up", "spk-sriov", "--backend", "hil", "--inventory", "vm"}},
		{"over macvlan, with artefacts", t.TempDir(), []string{"--lab", "spk"},
			[]string{"run", "vm-test", "spk", "--inventory", "vm", "--", "test", "--artifacts", guest.Out, "--label-filter", "sriov"},
			[]string{"up", "spk"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newVM()
			if err := c.ParseFlags(tc.flags); err != nil {
				t.Fatal(err)
			}
			value := func(name string) string { return c.Flag(name).Value.String() }
			f := vmFlags{kernel: value("kernel"), lab: value("lab"), inventory: value("inventory"), artifacts: tc.artifacts}
			job, err := f.job([]string{"test", "--label-filter", "sriov"})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.run, job.Argv[1:]); diff != "" || !job.Host {
				t.Errorf("host %t, words (-want +got):\n%s", job.Host, diff)
			}
			up, err := guestUp(f.lab, f.inventory)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.up, up); diff != "" {
				t.Errorf("up (-want +got):\n%s", diff)
			}
		})
	}
}
