package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/topo/picture"
)

// drawings are the values of graph's -o.
func drawings() map[string]func(picture.Picture) (string, error) {
	plain := func(f func(picture.Picture) string) func(picture.Picture) (string, error) {
		return func(p picture.Picture) (string, error) { return f(p), nil }
	}
	return map[string]func(picture.Picture) (string, error){
		"svg": plain(picture.Picture.SVG), "mermaid": plain(picture.Picture.Mermaid), "dot": plain(picture.Picture.DOT),
		"json": func(p picture.Picture) (string, error) {
			b, err := json.MarshalIndent(p, "", "  ")
			return string(b) + "\n", err
		},
	}
}

func newGraph() *cobra.Command {
	var as string
	var name *string
	var overrule *fabricFlags
	c := &cobra.Command{
		Use: "graph [LAB FILE | DIRECTORY | TOPOLOGY]", Short: "Draw a lab: what up would make, or with --lab how a running one does",
		Example: "  spklab graph spk > spk.svg\n  spklab graph --lab spk -o mermaid",
		Args:    cobra.MaximumNArgs(1), ValidArgsFunction: completeTopologies,
		RunE: func(c *cobra.Command, args []string) error {
			draw, ok := drawings()[as]
			if !ok {
				return exitWith(codeInput, fmt.Errorf("-o %s: want svg, mermaid, dot or json", as))
			}
			p, err := pictureOf(c, args, *name, overrule)
			if err != nil {
				return err
			}
			text, err := draw(p)
			if err != nil {
				return fmt.Errorf("draw: %w", err)
			}
			_, err = fmt.Fprint(c.OutOrStdout(), text)
			return err
		},
	}
	c.Flags().StringVarP(&as, "output", "o", "svg", "svg, mermaid, dot or json")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"svg", "mermaid", "dot", "json"}, cobra.ShellCompDirectiveNoFileComp))
	name = c.Flags().String("lab", "", "draw this running lab")
	_ = c.RegisterFlagCompletionFunc("lab", completeLabs)
	overrule = addFabric(c)
	return c
}

func pictureOf(c *cobra.Command, args []string, name string, overrule *fabricFlags) (picture.Picture, error) {
	if name != "" {
		if len(args) > 0 {
			return picture.Picture{}, exitWith(codeInput, fmt.Errorf("%s and --lab %s: give one of them", args[0], name))
		}
		l, _, err := openLab(c, name)
		if err != nil {
			return picture.Picture{}, err
		}
		p, err := l.Picture(c.Context())
		return p, fail(err)
	}
	src, err := loadSource(args)
	if err != nil {
		return picture.Picture{}, err
	}
	if err := choose(src, overrule); err != nil {
		return picture.Picture{}, err
	}
	p, err := lab.Sketch(src, lab.Options{})
	return p, fail(err)
}
