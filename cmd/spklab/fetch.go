package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/ovn/debs"
)

func newFetch() *cobra.Command {
	return &cobra.Command{
		Use: "fetch RELEASE", Short: "Download OVN's programs of a release that is not installed (" + strings.Join(debs.Releases(), ", ") + ")",
		Long: `Download OVN's and Open vSwitch's programs of a release that is not installed, for
` + "`spklab up --backend real --ovn-release RELEASE`" + `, which otherwise does so itself the first time. APT gets
the packages from the machine's own Debian mirror and checks their signatures; nothing is
installed. They are unpacked into ` + debs.EnvCache + ` (default: /var/cache/spklab, or the user's cache
directory). What is there already is checked, and replaced where it is damaged.`,
		Args: cobra.ExactArgs(1), ValidArgs: debs.Releases(),
		RunE: func(c *cobra.Command, args []string) error {
			cache, err := debs.DefaultCache()
			if err != nil {
				return fail(err)
			}
			p := newProgress(c.ErrOrStderr())
			root, err := cache.Fetch(c.Context(), args[0], func(text string, done, total int) {
				p.show(lab.Event{Text: text, Done: done, Total: total})
			})
			p.clear()
			if err != nil {
				return fail(err)
			}
			fmt.Fprintln(c.OutOrStdout(), root)
			return nil
		},
	}
}
