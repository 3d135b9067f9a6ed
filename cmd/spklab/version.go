package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// versionDoc is what `spklab version -o json` prints.
type versionDoc struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	Arch    string `json:"arch"`
	Kernel  string `json:"kernel"`
}

func newVersion() *cobra.Command {
	var out *format
	c := &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			doc := versionDoc{Version: version, Go: runtime.Version(), Arch: runtime.GOARCH, Kernel: kernelRelease()}
			return out.print(c.OutOrStdout(), doc, func(w io.Writer, _ bool) {
				fmt.Fprintf(w, "spklab %s (%s, %s, Linux %s)\n", doc.Version, doc.Go, doc.Arch, doc.Kernel)
			})
		},
	}
	out = addOutput(c)
	return c
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}
