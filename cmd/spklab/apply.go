package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/lab"
)

func newApply() *cobra.Command {
	var files []string
	var name *string
	c := &cobra.Command{
		Use: "apply -f FILE", Short: "Create or change objects in a running lab",
		Long: `Create or change objects in a running lab, as kubectl apply does: any manifest of a lab goes in
unchanged. Helm values (a document with a top key tmm or controller) upgrade the release. Returns
when the lab has followed.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			objs, warnings, err := lab.ReadFiles(files, func() ([]byte, error) { return io.ReadAll(c.InOrStdin()) })
			if err != nil {
				return fail(err)
			}
			if err := needRoot("apply"); err != nil {
				return err
			}
			l, p, err := openLab(c, *name)
			if err != nil {
				return err
			}
			findings, err := l.Apply(c.Context(), objs)
			p.clear()
			printWarnings(c.ErrOrStderr(), warnings, findings)
			if err != nil {
				return fail(err)
			}
			for _, o := range objs {
				fmt.Fprintf(c.OutOrStdout(), "%s applied\n", o)
			}
			return nil
		},
	}
	name = addLab(c)
	c.Flags().StringSliceVarP(&files, "filename", "f", nil, "manifest, - for standard input")
	_ = c.MarkFlagRequired("filename")
	_ = c.MarkFlagFilename("filename", "yaml", "yml", "json")
	return c
}

func newDelete() *cobra.Command {
	var namespace string
	var grace int64
	var name *string
	c := &cobra.Command{
		Use: "delete KIND NAME", Short: "Delete an object from a running lab",
		Long: `Delete an object from a running lab. A pod is given its grace period: its endpoint goes first,
then its process is asked to end. --grace-period 0 kills it at once, as a crash would. Without
--namespace the object is looked for in all namespaces, and has to be the only one of its name.`,
		Args: cobra.ExactArgs(2), ValidArgsFunction: completeObjects,
		RunE: func(c *cobra.Command, args []string) error {
			if err := needRoot("delete"); err != nil {
				return err
			}
			l, p, err := openLab(c, *name)
			if err != nil {
				return err
			}
			o, err := theOne(l, args[0], namespace, args[1])
			if err != nil {
				return fail(err)
			}
			if err := l.Delete(c.Context(), o.Kind, o.Namespace, o.Name, grace); err != nil {
				p.clear()
				return fail(err)
			}
			p.clear()
			fmt.Fprintf(c.OutOrStdout(), "%s deleted\n", o)
			return nil
		},
	}
	name = addLab(c)
	c.Flags().StringVarP(&namespace, "namespace", "n", "", "namespace of the object")
	c.Flags().Int64Var(&grace, "grace-period", -1, "seconds that a pod is given to end; -1: what the pod asks for")
	return c
}

func newScale() *cobra.Command {
	var name *string
	c := &cobra.Command{
		Use: "scale tmm|DEPLOYMENT N", Short: "Change the number of TMMs, or of another deployment's pods",
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			var n int
			if _, err := fmt.Sscanf(args[1], "%d", &n); err != nil || fmt.Sprint(n) != args[1] {
				return exitWith(codeInput, fmt.Errorf("replicas %q: want a number", args[1]))
			}
			if err := needRoot("scale"); err != nil {
				return err
			}
			l, p, err := openLab(c, *name)
			if err != nil {
				return err
			}
			findings, err := l.Scale(c.Context(), args[0], n)
			p.clear()
			printWarnings(c.ErrOrStderr(), nil, findings)
			if err != nil {
				return fail(err)
			}
			p.done("%s has %d replicas", args[0], n)
			return nil
		},
	}
	name = addLab(c)
	return c
}
