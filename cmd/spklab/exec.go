package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/lab"
)

func newExec() *cobra.Command {
	var name *string
	c := &cobra.Command{
		Use: "exec NODE -- COMMAND [ARG...]", Short: "Run a command inside a node or pod of a lab",
		Long: `Run a command in the network namespace of a node or pod. Its exit code becomes spklab's own.
OVN's tools find the lab's northbound database by OVN_NB_DB, which is set.`,
		Example: "  spklab exec worker-1 -- ovn-nbctl --no-leader-only find Logical_Router_Static_Route nexthop=10.144.100.16\n" +
			"  spklab exec client -- curl -s http://192.0.2.10/",
		Args: cobra.MinimumNArgs(2), ValidArgsFunction: completeNodes,
		RunE: func(c *cobra.Command, args []string) error {
			if err := needRoot("exec"); err != nil {
				return err
			}
			l, _, err := openLab(c, *name)
			if err != nil {
				return err
			}
			argv := args[1:]
			if argv[0] == "--" { // what follows the node is the command's own, flags included
				argv = argv[1:]
			}
			if len(argv) == 0 {
				return exitWith(codeInput, errors.New("no command: spklab exec NODE -- COMMAND"))
			}
			cmd, err := l.Exec(c.Context(), args[0], argv)
			if err != nil {
				return fail(err)
			}
			cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, c.OutOrStdout(), c.ErrOrStderr()
			code, err := cmd.Run()
			if err != nil {
				return fail(err)
			}
			if code != 0 {
				return exitWith(code, nil)
			}
			return nil
		},
	}
	c.Flags().SetInterspersed(false)
	name = addLab(c)
	return c
}

func completeNodes(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	name, _ := c.Flags().GetString("lab")
	l, err := lab.Open(name, lab.Options{})
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	nodes, err := l.Nodes()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
