package conform

import (
	"cmp"
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

// Options say what is compared. The zero value compares the installed OVN with its profile of the
// simulation.
type Options struct {
	Name    string // of the labs, with -sim and -real behind it; empty: conform
	Backend string // of the other lab, empty: real
	Release string // of OVN, empty: the installed one
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
	var pair []*subject
	defer func() { err = errors.Join(err, opt.end(context.WithoutCancel(ctx), pair)) }()
	for _, open := range []func(context.Context, []*subject) (*subject, error){opt.real, opt.simulation} {
		s, err := open(ctx, pair)
		if err != nil {
			return nil, err
		}
		pair = append(pair, s)
	}
	slices.Reverse(pair)
	a, b := pair[0].lab, pair[1].lab
	r = &Result{A: a.Name(), B: b.Name(), Notes: notes(a.Spec.Fabric.Profile), Steps: []Step{}, Differences: []Difference{}}
	for _, c := range list {
		if err := compare(ctx, r, pair, c); err != nil {
			return r, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return r, nil
}

// real is the lab of OVN's own daemons.
func (opt Options) real(ctx context.Context, _ []*subject) (*subject, error) {
	return opt.begin(ctx, "-real", func(spec *topo.Lab) (*topo.Lab, error) {
		backend := cmp.Or(opt.Backend, topo.BackendReal)
		spec, err := spec.WithBackend(backend)
		if err == nil && !spec.Fabric.Real() {
			err = fmt.Errorf("backend %s runs no OVN", backend)
		}
		if err != nil {
			return nil, err
		}
		return spec.WithRelease(opt.Release)
	})
}

// simulation is the lab that is held against the one of others.
func (opt Options) simulation(ctx context.Context, others []*subject) (*subject, error) {
	return opt.begin(ctx, "-sim", func(spec *topo.Lab) (*topo.Lab, error) {
		profile := opt.Profile
		if profile == "" {
			profile = "ovn-" + others[0].lab.Release()
		}
		return spec.WithProfile(profile)
	})
}

// begin brings a lab up that is the spk topology with a change.
func (opt Options) begin(ctx context.Context, suffix string, change func(*topo.Lab) (*topo.Lab, error)) (*subject, error) {
	src, err := lab.Load(".", "spk")
	if err != nil {
		return nil, err
	}
	name := opt.name() + suffix
	if src.Spec, err = change(src.Spec); err == nil {
		err = fabric.Check(src.Spec)
	}
	if err == nil && !topo.ValidName(name) {
		err = fmt.Errorf("lab %q: want a lower-case DNS label of at most 15 characters", name)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	src.Spec.Name = name
	return begin(ctx, src, opt.Lab)
}

func (opt Options) name() string { return cmp.Or(opt.Name, "conform") }

// end closes what serves the labs and, unless they are to be kept, takes them down.
func (opt Options) end(ctx context.Context, pair []*subject) error {
	var errs []error
	for _, s := range pair {
		errs = append(errs, s.close())
	}
	for _, suffix := range []string{"-sim", "-real"} {
		if !opt.Keep {
			errs = append(errs, lab.Down(ctx, opt.name()+suffix, opt.Lab))
		}
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
