package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/lab"
)

func newUp() *cobra.Command {
	var name string
	var overrule *fabricFlags
	var retain bool
	c := &cobra.Command{
		Use: "up [LAB FILE | DIRECTORY | TOPOLOGY]", Short: "Bring a lab up, or up to date",
		Long: `Bring a lab up and return when it is ready. The argument is a lab file, a directory with one, or
a topology that ships with spklab (bgp, flannel, spk, spk-sriov); without one it is the one lab file
here. A lab that runs is brought up to date, and what is gone of it, such as a process, an interface or
a VF, comes back; with nothing to do that is quick. Everything is checked before anything is made, and
when the first up of a lab fails it is taken down again.`,
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: completeTopologies,
		RunE: func(c *cobra.Command, args []string) error {
			src, err := loadSource(args)
			if err != nil {
				return err
			}
			if err := errors.Join(rename(src, name), choose(src, overrule)); err != nil {
				return err
			}
			printWarnings(c.ErrOrStderr(), src.Warnings, nil)
			if err := needRoot("up"); err != nil {
				return err
			}
			p := newProgress(c.ErrOrStderr())
			l, findings, err := lab.Up(c.Context(), src, lab.Options{Progress: p.show, Retain: retain})
			p.clear()
			printWarnings(c.ErrOrStderr(), nil, findings)
			if err != nil {
				return fail(err)
			}
			p.done("lab %s is up", l.Name())
			return nil
		},
	}
	c.Flags().StringVar(&name, "name", "", "name of the lab (default: what its file says)")
	overrule = addFabric(c)
	c.Flags().BoolVar(&retain, "retain", false, "keep a lab whose first up failed, to look into")
	return c
}

func newDown() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "down [LAB]", Short: "Take a lab down",
		Long: `Take a lab down, whatever state it is in, and remove everything that belongs to it. Without a
name it is the only lab. A lab that does not exist is down.`,
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: completeLabs,
		RunE: func(c *cobra.Command, args []string) error {
			if err := needRoot("down"); err != nil {
				return err
			}
			names, err := labsToTakeDown(args, all)
			if err != nil {
				return fail(err)
			}
			for _, name := range names {
				p := newProgress(c.ErrOrStderr())
				if err := lab.Down(c.Context(), name, lab.Options{Progress: p.show}); err != nil {
					p.clear()
					return fail(err)
				}
				p.done("lab %s is down", name)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&all, "all", false, "take every lab down")
	return c
}
