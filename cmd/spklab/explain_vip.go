package main

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/lab"
)

func newExplainVIP() *cobra.Command {
	var name *string
	var out *format
	c := &cobra.Command{
		Use: "vip ADDRESS", Short: "Why routers do or do not lead to a virtual address",
		Long: `Why the lab's routers do or do not lead to a virtual address: for each resource that asks for it the Service
and its endpoints, and for each TMM and BGP neighbor the chain from the maps over announcement, session, the
router's Adj-RIB-In and Loc-RIB to the routes of its kernel; it ends where one fails.
Exit code 1: a chain is broken, and the causes are the last lines. 5: no resource has the address.`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: completeVIPs,
		RunE: func(c *cobra.Command, args []string) error {
			if err := needRoot("explain"); err != nil {
				return err
			}
			addr, err := netip.ParseAddr(args[0])
			if err != nil {
				return exitWith(codeInput, fmt.Errorf("%q: want an address, such as 192.0.2.10", args[0]))
			}
			l, p, err := openLab(c, *name)
			if err != nil {
				return err
			}
			e, err := l.ExplainVIP(c.Context(), addr)
			p.clear()
			if err != nil {
				return fail(err)
			}
			if err := out.print(c.OutOrStdout(), e, func(w io.Writer, _ bool) { showVIP(w, e) }); err != nil {
				return err
			}
			if !e.OK {
				return exitWith(codeFail, nil)
			}
			return nil
		},
	}
	name = addLab(c)
	out = addOutput(c)
	return c
}

func completeVIPs(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	name, _ := c.Flags().GetString("lab")
	l, err := lab.Open(name, lab.Options{})
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	res, err := l.Resources()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var words []string
	for _, p := range lab.Destinations(res) {
		words = append(words, p.Addr().String())
	}
	return slices.Compact(words), cobra.ShellCompDirectiveNoFileComp
}

// showVIP prints a table for each resource and one for each way.
func showVIP(w io.Writer, e *lab.VIPExplanation) {
	leads, ways := 0, 0
	for i := range e.Resources {
		r := &e.Resources[i]
		fmt.Fprintf(w, "%s %s\n", mark(w, r.OK()), bold(w, r.Object))
		printTable(w, "", conditionHeader(), conditionRows(w, r.Conditions))
		for j := range r.Ways {
			way := &r.Ways[j]
			if way.OK() {
				leads++
			}
			if way.Takes() {
				ways++
			}
			fmt.Fprintf(w, "\n%s %s\n", mark(w, way.OK()), bold(w, way.String()))
			printTable(w, "", conditionHeader(), conditionRows(w, way.Conditions))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "%s %d of %d ways lead to %s (not counted: neighbors that do not take its family)\n", mark(w, leads > 0), leads, ways, e.Address)
	for i := range e.Causes {
		fmt.Fprintf(w, "%s %s\n", mark(w, false), causeText(i, &e.Causes[i]))
	}
}

// causeText is the i-th cause in a line: what is to be repaired first, and what besides.
func causeText(i int, c *lab.VIPCause) string {
	text := fmt.Sprintf("%s: %s, %s: %s", c.Name, c.Object, c.Field, c.Text)
	if len(c.Ways) > 0 {
		text += " (" + strings.Join(c.Ways, "; ") + ")"
	}
	if i == 0 {
		return "first " + text
	}
	return "also " + text
}
