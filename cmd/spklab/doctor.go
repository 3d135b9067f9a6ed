package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

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
			p := newProgress(c.ErrOrStderr())
			d, err := examine(p.say)
			p.clear()
			if err != nil {
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

// patience is how long doctor looks before it says what it looks at.
const patience = time.Second

// examine looks at everything side by side, and tells what it still looks at when that takes long.
func examine(tell func(string)) (diagnosis, error) {
	d := diagnosis{Kernel: kernelRelease(), OK: true}
	var kernel, installed []finding
	var failed error
	sideBySide(tell, time.After(patience),
		look{"the kernel", func() { kernel = kernelFeatures() }},
		look{"programs", func() { installed = programs() }},
		look{"SR-IOV cards", func() { d.Cards, d.IOMMU, failed = cardFindings(topo.Host{}) }},
	)
	d.conclude(slices.Concat(privileges(), kernel, installed))
	return d, failed
}

// look is a part of what doctor looks at.
type look struct {
	at string
	do func()
}

// sideBySide returns when all is done. What is not once late has come is told then, and again whenever it gets less.
func sideBySide(tell func(string), late <-chan time.Time, all ...look) {
	done, left := make(chan string), make([]string, 0, len(all))
	for _, l := range all {
		left = append(left, l.at)
		go func() { l.do(); done <- l.at }()
	}
	slow := false
	for len(left) > 0 {
		select {
		case <-late:
			slow = true
		case at := <-done:
			left = slices.DeleteFunc(left, func(l string) bool { return l == at })
		}
		if slow && len(left) > 0 {
			tell("looking at " + strings.Join(left, ", "))
		}
	}
}

// conclude takes the findings in.
func (d *diagnosis) conclude(all []finding) {
	d.Findings = all
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
