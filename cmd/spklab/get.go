package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/lab"
)

func newGet() *cobra.Command {
	var namespace string
	var name *string
	var out *format
	c := &cobra.Command{
		Use: "get KIND [NAME]", Short: "List objects of a running lab, or print them with -o yaml",
		Args: cobra.RangeArgs(1, 2), ValidArgsFunction: completeObjects,
		RunE: func(c *cobra.Command, args []string) error {
			l, _, err := openLab(c, *name)
			if err != nil {
				return err
			}
			which := ""
			if len(args) == 2 {
				which = args[1]
			}
			objs, err := l.Get(args[0], namespace, which)
			if err != nil {
				return fail(err)
			}
			if which != "" && len(objs) == 0 {
				return fail(fmt.Errorf("%s %s: %w", args[0], which, lab.ErrNotFound))
			}
			for i := range objs {
				if objs[i], err = l.WithStatus(c.Context(), objs[i]); err != nil {
					return fail(err)
				}
			}
			return printObjects(c.OutOrStdout(), *out, objs)
		},
	}
	name = addLab(c)
	c.Flags().StringVarP(&namespace, "namespace", "n", "", "only objects of this namespace")
	out = addOutput(c)
	return c
}

// printObjects prints YAML as it stands in the store, JSON made of it, or a table of names.
func printObjects(w io.Writer, out format, objs []api.Object) error {
	if out == formatYAML {
		var docs []string
		for _, o := range objs {
			docs = append(docs, withoutBlank(string(o.Raw)))
		}
		_, err := io.WriteString(w, strings.Join(docs, "---\n"))
		return err
	}
	docs := []any{}
	for _, o := range objs {
		var doc any
		if err := yaml.Unmarshal(o.Raw, &doc); err != nil {
			return fmt.Errorf("decode %s: %w", o, err)
		}
		docs = append(docs, doc)
	}
	return out.print(w, docs, func(w io.Writer, wide bool) {
		header := []string{"namespace", "name"}
		if wide {
			header = append(header, "kind", "apiVersion")
		}
		var rows [][]string
		for _, o := range objs {
			row := []string{list(fields(o.Namespace)), o.Name}
			if wide {
				row = append(row, o.Kind, o.APIVersion)
			}
			rows = append(rows, row)
		}
		printTable(w, "", header, rows)
	})
}

// withoutBlank is a document without blank lines around it.
func withoutBlank(doc string) string {
	for {
		line, rest, more := strings.Cut(doc, "\n")
		if !more || strings.TrimSpace(line) != "" {
			return strings.TrimRight(doc, " \n") + "\n"
		}
		doc = rest
	}
}

func fields(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// theOne is the object that a kind and a name mean.
func theOne(l *lab.Lab, kind, namespace, name string) (api.Object, error) {
	objs, err := l.Get(kind, namespace, name)
	if err != nil {
		return api.Object{}, err
	}
	switch len(objs) {
	case 1:
		return objs[0], nil
	case 0:
		return api.Object{}, fmt.Errorf("%s %s: %w", kind, name, lab.ErrNotFound)
	}
	var where []string
	for _, o := range objs {
		where = append(where, o.Namespace)
	}
	return api.Object{}, exitWith(codeInput, fmt.Errorf("%s %s stands in several namespaces (%s): name one with -n", kind, name, strings.Join(where, ", ")))
}

func completeObjects(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return []string{"pod", "service", "endpointslice", "deployment", "namespace", "node", "net-attach-def",
			"f5-spk-vlans", "f5-spk-ingresstcps", "f5-spk-ingressudps", "f5-spk-ingressngaps",
			"f5-spk-egresses", "f5-spk-snatpools", "f5-spk-staticroutes", "apbexternalroutes"}, cobra.ShellCompDirectiveNoFileComp
	}
	name, _ := c.Flags().GetString("lab")
	l, err := lab.Open(name, lab.Options{})
	if err != nil || len(args) > 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	objs, err := l.Get(args[0], "", "")
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, o := range objs {
		names = append(names, o.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
