package debs

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// digestName is the file with the digests of a root, in the format of sha256sum(1).
const digestName = "SHA256SUMS"

// record writes the digests of what a root holds.
func record(dir string) error {
	sums, err := entries(dir, digest)
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		fmt.Fprintf(&b, "%s  %s\n", sums[name], name)
	}
	if err := os.WriteFile(filepath.Join(dir, digestName), []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("write digests: %w", err)
	}
	return nil
}

// check compares a root with its digests. The error names the first file that was changed, added or
// removed.
func check(dir string) error {
	want, err := recorded(dir)
	if err != nil {
		return err
	}
	return compare(dir, want, digest)
}

// glance is check without reading the files: what was changed in one is not found.
func glance(dir string) error {
	want, err := recorded(dir)
	if err != nil {
		return err
	}
	return compare(dir, want, func(root *os.Root, name string, e fs.DirEntry) (string, error) {
		if e.Type().IsRegular() {
			return want[name], nil // to ask for each of a thousand files is slow, too
		}
		_, err := root.Stat(name)
		return want[name], err
	})
}

// compare compares what sum says of a root's files with what it should.
func compare(dir string, want map[string]string, sum summer) error {
	have, err := entries(dir, sum)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		switch sum, ok := have[name]; {
		case !ok:
			return fmt.Errorf("%s is gone", name)
		case sum != want[name]:
			return fmt.Errorf("%s is not what was unpacked", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if _, ok := want[name]; !ok {
			return fmt.Errorf("%s was not unpacked", name)
		}
	}
	return nil
}

// recorded reads the digests of a root.
func recorded(dir string) (map[string]string, error) {
	f, err := os.Open(filepath.Join(dir, digestName))
	if err != nil {
		return nil, errors.New("it has no digests")
	}
	defer f.Close()
	out := map[string]string{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		sum, name, ok := strings.Cut(lines.Text(), "  ")
		if !ok || len(sum) != 2*sha256.Size {
			return nil, fmt.Errorf("%s: line %q makes no sense", digestName, lines.Text())
		}
		out[name] = sum
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read digests: %w", err)
	}
	if len(out) == 0 {
		return nil, errors.New("its digests are empty")
	}
	return out, nil
}

// summer says what stands for a file.
type summer func(root *os.Root, name string, e fs.DirEntry) (string, error)

// entries are all files of a root by their names, with what sum says of them. A link stands for what it leads to, and
// must not lead out of the root.
func entries(dir string, sum summer) (map[string]string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open root: %w", err)
	}
	defer root.Close()
	out := map[string]string{}
	err = fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || name == digestName {
			return err
		}
		s, err := sum(root, name, e)
		out[name] = s
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read root: %w", err)
	}
	return out, nil
}

func digest(root *os.Root, name string, _ fs.DirEntry) (string, error) {
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return "", errors.Join(fmt.Errorf("%s is no file", name), err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}
