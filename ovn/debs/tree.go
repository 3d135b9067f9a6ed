package debs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Tree is a directory of the cache that is made of Debian's packages.
type Tree struct {
	Name string // its directory, without the architecture; another content has another name
	What string // what it is called where it is spoken of
	// Suites are where the packages come from, such as trixie; the last one has its own first.
	Suites []string
	Debs   []string // packages; what they depend on comes with them
	// Only are beginnings of the names of the packages to unpack; without any all are.
	Only []string
	// Make makes the content, in the empty directory root, of the unpacked packages.
	Make func(ctx context.Context, unpacked, root string) error
}

// path is where a tree stands, whether it is there or not.
func (c Cache) path(t Tree) string { return filepath.Join(c.Dir, t.Name+"-"+runtime.GOARCH) }

// Tree returns the directory of a tree, made as Fetch makes a root: downloaded with Debian's signatures
// checked where it is not there or not whole, put in place in one step, known by digests.
func (c Cache) Tree(ctx context.Context, t Tree, tell Progress) (string, error) {
	final := c.path(t)
	open := func() error {
		if _, err := os.Stat(final); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is %w (%s)", t.What, ErrAbsent, final)
		}
		if err := check(final); err != nil {
			return fmt.Errorf("%s in %s is %w: %w", t.What, final, ErrDamaged, err)
		}
		return nil
	}
	return c.keep(ctx, final, open, tell, func(work string, tell Progress) error { return t.build(ctx, work, tell) })
}

// build downloads and unpacks packages, and has the tree made of them.
func (t Tree) build(ctx context.Context, work string, tell Progress) error {
	codename, err := debian(t.What, "use Debian")
	if err != nil {
		return err
	}
	mirror, err := ownMirror(ctx, codename)
	if err != nil {
		return err
	}
	tell(fmt.Sprintf("downloading %s from %s, %s", t.What, mirror, strings.Join(t.Suites, " ")), 0, 0)
	a, err := newAPT(filepath.Join(work, "apt"), mirror, strings.Join(t.Suites, " "), tell)
	if err != nil {
		return err
	}
	if err := a.downloadAll(ctx, t.Suites[len(t.Suites)-1], t.Debs); err != nil {
		return fmt.Errorf("download %s: %w\nthe first use of it needs the network", t.What, err)
	}
	tell("unpacking "+t.What, 0, 0)
	unpacked, root := filepath.Join(work, "unpacked"), filepath.Join(work, rootName)
	if err := t.unpack(ctx, filepath.Join(a.dir, "archives"), unpacked); err != nil {
		return err
	}
	if err := os.Mkdir(root, 0o700); err != nil {
		return fmt.Errorf("make directory of %s: %w", t.What, err)
	}
	if err := t.Make(ctx, unpacked, root); err != nil {
		return fmt.Errorf("make %s: %w", t.What, err)
	}
	return record(root)
}

// unpack unpacks the packages that are wanted.
func (t Tree) unpack(ctx context.Context, from, to string) error {
	files, err := filepath.Glob(filepath.Join(from, "*.deb"))
	if err != nil {
		return fmt.Errorf("list packages: %w", err)
	}
	if len(files) == 0 {
		return fmt.Errorf("%s: no package came", t.What)
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	for _, f := range files {
		if !t.wants(filepath.Base(f)) {
			continue
		}
		if _, err := output(ctx, "dpkg-deb", "--extract", f, to); err != nil {
			return err
		}
	}
	return nil
}

func (t Tree) wants(file string) bool {
	return len(t.Only) == 0 || slices.ContainsFunc(t.Only, func(prefix string) bool { return strings.HasPrefix(file, prefix) })
}

// Libraries is where a root of unpacked packages has its loader and its libraries, from the root on.
func Libraries() (loader, libraries string, err error) {
	p, ok := platforms()[runtime.GOARCH]
	if !ok {
		return "", "", fmt.Errorf("%w: use amd64", ErrUnsupported)
	}
	return p.loader, p.libraries, nil
}
