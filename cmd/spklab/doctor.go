package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/topo"
)

// finding is one line of what doctor found out.
type finding struct {
	Name     string `json:"name"`
	OK       bool   `json:"ok"`
	Required bool   `json:"required"` // the shipped topologies need it
	Detail   string `json:"detail"`
	// Debs are the Debian packages that bring it, where packages do.
	Debs []string `json:"debs,omitempty"`
}

// diagnosis is what `spklab doctor -o json` prints.
type diagnosis struct {
	Kernel   string    `json:"kernel"`
	OK       bool      `json:"ok"` // everything required is there
	Findings []finding `json:"findings"`
	// Cards are the SR-IOV cards, and IOMMU whether their VFs can be handed to programs.
	Cards []cardFinding `json:"cards"`
	IOMMU bool          `json:"iommu"`
	// Fix is the command that installs what is missing, empty where nothing is.
	Fix string `json:"fix,omitempty"`
}

func newDoctor() *cobra.Command {
	var out *format
	c := &cobra.Command{
		Use: "doctor", Short: "Say what this machine can do for a lab", Args: cobra.NoArgs,
		Long: `Say what this machine can do for a lab: privileges, kernel features (each one is tried in a
throw-away network namespace, not guessed from the version), programs, and the SR-IOV cards with what
each can do and whether the machine is reached by it, for --backend hil. Exit code 6 where
something is missing that the shipped topologies need.`,
		RunE: func(c *cobra.Command, _ []string) error {
			d := examine()
			var err error
			if d.Cards, d.IOMMU, err = cardFindings(topo.Host{}); err != nil {
				return fail(err)
			}
			if err := out.print(c.OutOrStdout(), d, func(w io.Writer, _ bool) { printDiagnosis(w, d) }); err != nil {
				return err
			}
			if !d.OK {
				return exitWith(codeCapability, nil)
			}
			return nil
		},
	}
	out = addOutput(c)
	return c
}

func examine() diagnosis {
	d := diagnosis{Kernel: kernelRelease(), OK: true}
	d.Findings = slices.Concat(privileges(), kernelFeatures(), programs())
	var debs []string
	for _, f := range d.Findings {
		if f.OK {
			continue
		}
		if f.Required {
			d.OK = false
		}
		debs = append(debs, f.Debs...)
	}
	if slices.Sort(debs); len(debs) > 0 {
		d.Fix = "apt-get install --no-install-recommends " + strings.Join(slices.Compact(debs), " ")
	}
	return d
}

func printDiagnosis(w io.Writer, d diagnosis) {
	rows := make([][]string, 0, len(d.Findings))
	for _, f := range d.Findings {
		need := "optional"
		if f.Required {
			need = "required"
		}
		rows = append(rows, []string{mark(w, f.OK), f.Name, need, f.Detail})
	}
	printTable(w, "Linux "+d.Kernel, []string{"", "what", "need", "detail"}, rows)
	if d.Fix != "" {
		fmt.Fprintf(w, "\nto install what is missing: %s\n", d.Fix)
	}
	printCards(w, d)
}
