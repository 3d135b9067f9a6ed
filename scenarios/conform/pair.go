package conform

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/ovnsim/forward"
	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/topo/fabric"
)

// ErrOptions says that the options make no sense.
var ErrOptions = errors.New("bad selection")

// Options say what is compared. The zero value compares ovn-23.03 of the simulation with OVN 23.03.
type Options struct {
	Name    string // of the labs, with -sim and -real behind it; empty: conform
	Backend string // of the other lab, empty: real
	Profile string // of the simulation, empty: that of the release
	Focus   string // only changes that match this regular expression; empty: all
	Keep    bool   // leave the labs up
	// Lab is how labs are brought up; its Progress may be nil.
	Lab lab.Options
}

// How long the databases may take to hold the same, and the datapaths to follow.
const (
	rowsPatience     = 3 * time.Second
	datapathPatience = 20 * time.Second
	poll             = 20 * time.Millisecond
)

// Run brings the two labs up, leads them through the same changes, compares them after each, and
// takes them down. The error is about the labs; differences are in the result.
func Run(ctx context.Context, opt Options) (r *Result, err error) {
	list, err := selected(opt.Focus)
	if err != nil {
		return nil, err
	}
	sources, err := opt.sources()
	if err != nil {
		return nil, err
	}
	var pair []*subject
	defer func() {
		for _, s := range pair {
			err = errors.Join(err, s.close())
		}
		if !opt.Keep {
			err = errors.Join(err, down(context.WithoutCancel(ctx), opt.Lab, sources))
		}
	}()
	for _, src := range sources {
		s, err := begin(ctx, src, opt.Lab)
		if err != nil {
			return nil, err
		}
		pair = append(pair, s)
	}
	r = &Result{A: pair[0].lab.Name(), B: pair[1].lab.Name(), Notes: notes(sources[0].Spec.Fabric.Profile), Steps: []Step{}, Differences: []Difference{}}
	for _, c := range list {
		if err := compare(ctx, r, pair, c); err != nil {
			return r, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return r, nil
}

// sources are the labs, the simulation first.
func (opt Options) sources() ([]*lab.Source, error) {
	name := opt.Name
	if name == "" {
		name = "conform"
	}
	profile := opt.Profile
	if profile == "" {
		profile = forward.ProfileOVN2303
	}
	backend := opt.Backend
	if backend == "" {
		backend = topo.BackendReal
	}
	var out []*lab.Source
	for _, kind := range []struct{ suffix, backend, profile string }{{"-sim", topo.BackendSim, profile}, {"-real", backend, ""}} {
		src, err := lab.Load(".", "spk")
		if err != nil {
			return nil, err
		}
		if src.Spec, err = src.Spec.WithBackend(kind.backend); err == nil {
			src.Spec, err = src.Spec.WithProfile(kind.profile)
		}
		if src.Spec.Name = name + kind.suffix; err == nil && !topo.ValidName(src.Spec.Name) {
			err = fmt.Errorf("lab %q: want a lower-case DNS label of at most 15 characters", src.Spec.Name)
		}
		if err == nil {
			err = fabric.Check(src.Spec)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrOptions, err)
		}
		out = append(out, src)
	}
	return out, nil
}

func down(ctx context.Context, opt lab.Options, sources []*lab.Source) error {
	var errs []error
	for _, src := range sources {
		errs = append(errs, lab.Down(ctx, src.Spec.Name, opt))
	}
	return errors.Join(errs...)
}

// notes say where the documents of SPK say otherwise than what both labs do.
func notes(profile string) []string {
	p, err := forward.FindProfile(profile)
	if err != nil {
		return nil
	}
	var out []string
	for _, c := range []struct {
		what   string
		choice forward.Choice
	}{{"new TCP connections", p.TCP}, {"new UDP flows", p.UDP}, {"echo requests", p.ICMP}} {
		switch c.choice {
		case forward.HashPorts:
			out = append(out, c.what+": OVN hashes addresses and ports, where the SPK documents say round robin; single choices are not compared")
		case forward.HashAddresses:
			out = append(out, c.what+": OVN hashes addresses alone, where the SPK documents say round robin; single choices are not compared")
		}
	}
	return out
}

// compare makes a change on both labs and adds what they show to the result.
func compare(ctx context.Context, r *Result, pair []*subject, c change) error {
	for _, s := range pair {
		if err := s.do(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", s.lab.Name(), err)
		}
	}
	if err := settle(ctx, pair); err != nil {
		return err
	}
	var seen []Observation
	for _, s := range pair {
		o, err := s.observe(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", s.lab.Name(), err)
		}
		seen = append(seen, o)
	}
	if len(seen[0].Entries)+len(seen[1].Entries) == 0 {
		return errors.New("neither lab tracks a connection of a client: there is nothing to compare")
	}
	r.Add(c.name, seen[0], seen[1])
	return nil
}

// settle waits until both databases hold the same, or for as long as a controller may take, and then
// until the datapaths have followed.
func settle(ctx context.Context, pair []*subject) error {
	alike := func() error {
		a, err := pair[0].rows(ctx)
		b, berr := pair[1].rows(ctx)
		if err = errors.Join(err, berr); err == nil && !slices.Equal(a, b) {
			err = errors.New("the rows differ")
		}
		return err
	}
	_ = wait(ctx, rowsPatience, alike) // a difference that stays is what the comparison is for
	for _, s := range pair {
		err := wait(ctx, datapathPatience, func() error {
			behind, err := s.lab.Behind(ctx)
			if err == nil && len(behind) > 0 {
				err = fmt.Errorf("the datapaths lack %s", strings.Join(behind, "; "))
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", s.lab.Name(), err)
		}
	}
	return nil
}

// wait asks until there is no error or the time is up, and returns the last one.
func wait(ctx context.Context, patience time.Duration, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(poll):
		}
	}
}

// do makes a change.
func (s *subject) do(ctx context.Context, c change) error {
	if c.apply != "" {
		objs, err := api.Split("step.yaml", []byte(c.apply))
		if err != nil {
			return err
		}
		if _, err := s.lab.Apply(ctx, objs); err != nil {
			return err
		}
	}
	if c.take != "" {
		if err := s.lab.Delete(ctx, api.KindExternalRoute, "", c.take, -1); err != nil {
			return err
		}
	}
	if c.tmms == 0 {
		return nil
	}
	_, err := s.lab.Scale(ctx, "tmm", c.tmms)
	return err
}
