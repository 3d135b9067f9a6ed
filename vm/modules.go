package vm

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// module is a kernel module, unpacked.
type module struct {
	name string
	data []byte
}

// collector finds modules with what they need.
type collector struct {
	files map[string]string // by name
	done  map[string]bool
	out   []module
}

// collectModules returns modules below a directory in an order in which they can be loaded, what they need
// before them. Names that have no file are left out: the kernel has them built in, or not at all.
func collectModules(ctx context.Context, dir string, names []string) ([]module, error) {
	c := collector{files: map[string]string{}, done: map[string]bool{}}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if name, _, ok := strings.Cut(filepath.Base(path), ".ko"); ok && err == nil && !e.IsDir() {
			c.files[moduleName(name)] = path
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for modules: %w", err)
	}
	for _, name := range names {
		if err := c.add(ctx, name); err != nil {
			return nil, fmt.Errorf("module %s: %w", name, err)
		}
	}
	return c.out, nil
}

// moduleName is a name as the kernel has it: a file of x-y is the module x_y.
func moduleName(name string) string { return strings.ReplaceAll(name, "-", "_") }

func (c *collector) add(ctx context.Context, name string) error {
	path, ok := c.files[name]
	if !ok || c.done[name] {
		return nil
	}
	c.done[name] = true
	packed, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	data, err := decompress(ctx, packed)
	if err != nil {
		return err
	}
	needs, err := dependencies(data)
	if err != nil {
		return err
	}
	for _, n := range needs {
		if err := c.add(ctx, n); err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
	}
	c.out = append(c.out, module{name, data})
	return nil
}

// dependencies are the names of the modules that have to be loaded before one, by its section .modinfo.
func dependencies(data []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("read module: no section .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	return needed(string(info)), nil
}

// needed reads entries "key=value" that end with a zero octet.
func needed(info string) []string {
	var out []string
	for entry := range strings.SplitSeq(info, "\x00") {
		for _, key := range []string{"depends=", "softdep=pre: "} {
			if value, ok := strings.CutPrefix(entry, key); ok {
				for _, name := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' }) {
					out = append(out, moduleName(name))
				}
			}
		}
	}
	return out
}
