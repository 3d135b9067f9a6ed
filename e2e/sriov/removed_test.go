package sriov

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/topo"
)

// removed: all VFs of a card go at once from under a TMM at work, as when an operator resets the card.
func removed() group {
	var before tmmState
	return group{name: "all VFs of a card removed under a TMM", chained: true, checks: []check{
		{name: "an event names each interface and its VF", do: func(*cards) (err error) {
			if before, err = tmmsNow(); err != nil {
				return err
			}
			one, two := internal().address(), external().address()
			since := ctl.Now()
			if err := write(cardAddress, "sriov_numvfs", "0"); err != nil {
				return err
			}
			return until(func() error {
				return errors.Join(told(since, "InterfaceMissing", "interface 1.1", one), told(since, "InterfaceMissing", "interface 1.2", two))
			})
		}},
		{name: "up makes them by policy and gives each to its TMM", do: func(*cards) error {
			return errors.Join(spklab(up(labFiles)...), same(cardAddress, "sriov_numvfs", "4"), tmmsHaveVFs())
		}},
		{name: "the same processes have the same MACs, VLANs and addresses", do: func(*cards) error {
			return until(func() error {
				now, err := tmmsNow()
				if diff := cmp.Diff(before, now); err == nil && diff != "" {
					err = fmt.Errorf("(-before +now)\n%s", diff)
				}
				return err
			})
		}},
		{name: "they are led to, and all scenarios with the label sriov pass", do: func(*cards) error {
			if err := until(led); err != nil {
				return err
			}
			run, err := scenarios("sriov")
			for _, s := range run.Scenarios {
				if s.State != report.Passed {
					err = errors.Join(err, fmt.Errorf("%s: %s: %s", s.Name, s.State, s.Message))
				}
			}
			return err
		}},
	}}
}

// tmmState is what has to be there again when the VFs are.
type tmmState struct {
	Processes []string
	Links     map[string][]string // MAC and addresses, by namespace and interface
}

// tmmsNow reads the TMMs' processes, their VFs and the VLANs on those.
func tmmsNow() (tmmState, error) {
	out := tmmState{Links: map[string][]string{}}
	for _, f := range given() {
		pid, err := proxyIn(f.tmm)
		if err != nil {
			return out, err
		}
		out.Processes = append(out.Processes, pid)
		err = topo.Do(f.tmm, func() error {
			links, err := net.Interfaces()
			for _, l := range links {
				if slices.Contains([]string{f.name, f.name + ".100", f.name + ".200"}, l.Name) {
					addresses, aerr := l.Addrs()
					out.Links[f.tmm+"/"+l.Name] = append(words(addresses), l.HardwareAddr.String())
					err = errors.Join(err, aerr)
				}
			}
			return err
		})
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// words are addresses in words, in order.
func words(addresses []net.Addr) []string {
	var out []string
	for _, a := range addresses {
		out = append(out, a.String())
	}
	slices.Sort(out)
	return out
}
