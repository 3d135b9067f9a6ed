package debs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// packagesName is the file of a root that lists its packages with their versions.
const packagesName = "packages"

// Bin is the directory of a root with the programs that can be called from outside.
func Bin(root string) string { return filepath.Join(root, "bin") }

// Schema is the schema of a database as a root has it: ovn-nb, ovn-sb or vswitch.
func Schema(root, name string) string {
	dir := "ovn"
	if name == "vswitch" {
		dir = "openvswitch"
	}
	return filepath.Join(root, "usr/share", dir, name+".ovsschema")
}

// build downloads and unpacks a release.
func build(ctx context.Context, release, work, final string, tell Progress) error {
	codename, err := supported(release)
	if err != nil {
		return err
	}
	mirror, err := ownMirror(ctx, codename)
	if err != nil {
		return err
	}
	from := origins()[release]
	tell(fmt.Sprintf("downloading OVN %s from %s, %s", release, mirror, from.suite), 0, 0)
	a, err := newAPT(filepath.Join(work, "apt"), mirror, from.suite, tell)
	if err != nil {
		return err
	}
	if err := a.download(ctx, from.debs); err != nil {
		return fmt.Errorf("download OVN %s: %w\nthe first use of it needs the network; `spklab fetch %s` tries again", release, err, release)
	}
	tell("unpacking OVN "+release, 0, 0)
	root := filepath.Join(work, rootName)
	if err := unpack(ctx, release, filepath.Join(a.dir, "debs"), root); err != nil {
		return err
	}
	return finish(ctx, root, final)
}

// unpack unpacks packages into a new root, and leaves out what programs do not use.
func unpack(ctx context.Context, release, from, root string) error {
	files, err := filepath.Glob(filepath.Join(from, "*.deb"))
	if err != nil {
		return fmt.Errorf("list packages: %w", err)
	}
	if err := os.Mkdir(root, 0o700); err != nil {
		return fmt.Errorf("make root: %w", err)
	}
	var list []string
	for _, f := range files {
		if _, err := output(ctx, "dpkg-deb", "--extract", f, root); err != nil {
			return err
		}
		said, err := output(ctx, "dpkg-deb", "--show", "--showformat=${Package} ${Version}\n", f)
		if err != nil {
			return err
		}
		list = append(list, said)
	}
	if !slices.ContainsFunc(list, func(p string) bool { return strings.HasPrefix(p, "ovn-common "+release+".") }) {
		return fmt.Errorf("the archive has another release of OVN than %s: %v", release, list)
	}
	if err := os.WriteFile(filepath.Join(root, packagesName), []byte(strings.Join(list, "")), 0o600); err != nil {
		return fmt.Errorf("write list of packages: %w", err)
	}
	p := platforms()[runtime.GOARCH]
	return errors.Join(
		keepOnly(root, "usr", packagesName),
		keepOnly(filepath.Join(root, "usr"), "bin", "sbin", "lib", "lib64", "share"),
		keepOnly(filepath.Join(root, "usr/share"), "openvswitch", "ovn"),
		keepOnly(filepath.Join(root, "usr/lib"), filepath.Base(p.libraries), "openvswitch-switch"))
}

// keepOnly removes everything from a directory but these names.
func keepOnly(dir string, names ...string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read root: %w", err)
	}
	for _, e := range entries {
		if slices.Contains(names, e.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("remove what is not used: %w", err)
		}
	}
	return nil
}

// finish gives a root its programs, as they are called once it stands at final, checks that they find
// all their libraries in it, and writes the digests.
func finish(ctx context.Context, root, final string) error {
	programs, err := executables(root)
	if err != nil {
		return err
	}
	if err := os.Mkdir(Bin(root), 0o700); err != nil {
		return fmt.Errorf("make directory for programs: %w", err)
	}
	p := platforms()[runtime.GOARCH]
	for _, program := range programs {
		if err := complete(ctx, root, p, program); err != nil {
			return err
		}
		file := filepath.Join(Bin(root), filepath.Base(program))
		if err := os.WriteFile(file, []byte(wrapper(final, p, program)), 0o700); err != nil {
			return fmt.Errorf("write program: %w", err)
		}
	}
	return record(root)
}

// wrapper is a script that becomes the program, run by the root's loader with the root's libraries.
func wrapper(root string, p platform, program string) string {
	return fmt.Sprintf("#!/bin/sh\nexec '%s' --inhibit-cache --library-path '%s' '%s' \"$@\"\n",
		filepath.Join(root, p.loader), filepath.Join(root, p.libraries), filepath.Join(root, program))
}

// executables are the programs of a root that need its loader.
func executables(root string) ([]string, error) {
	var out []string
	for _, dir := range []string{"usr/bin", "usr/sbin", "usr/lib/openvswitch-switch"} {
		entries, err := os.ReadDir(filepath.Join(root, dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("list programs: %w", err)
		}
		for _, e := range entries {
			name := filepath.Join(dir, e.Name())
			if e.Type().IsRegular() && isELF(filepath.Join(root, name)) {
				out = append(out, name)
			}
		}
	}
	if len(out) == 0 {
		return nil, errors.New("the packages have no programs")
	}
	return out, nil
}

func isELF(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	magic := make([]byte, 4)
	_, err = f.Read(magic)
	return err == nil && bytes.Equal(magic, []byte("\x7fELF"))
}

// complete asks the loader which libraries a program would get, and wants none from outside the root.
func complete(ctx context.Context, root string, p platform, program string) error {
	said, err := output(ctx, filepath.Join(root, p.loader), "--inhibit-cache", "--library-path", filepath.Join(root, p.libraries), "--list", filepath.Join(root, program))
	if err != nil {
		return fmt.Errorf("libraries of %s: %w", program, err)
	}
	for line := range strings.Lines(said) {
		library, where, ok := strings.Cut(strings.TrimSpace(line), " => ")
		if ok && !strings.HasPrefix(where, root+"/") {
			return fmt.Errorf("%s would take %s from %s: its package is missing in the list of packages", program, library, where)
		}
	}
	return nil
}

// output runs a program to its end and returns what it printed.
func output(ctx context.Context, name string, argv ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, argv...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", fmt.Errorf("%s: %w: %s", filepath.Base(name), err, strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return string(out), nil
}
