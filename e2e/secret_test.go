package e2e

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// configuration are the files below a lab's state directory that hold passwords, since somebody is configured by
// them; nobody but their owner may read them.
func configuration() []string {
	return []string{"lab.json", "conf/router-*.json", "router/*/bgpd.conf", "router/*/bird.conf", "manifests/helmvalues.*.yaml"}
}

func isConfiguration(path string) bool {
	for _, glob := range configuration() {
		if ok, err := filepath.Match(glob, path); ok && err == nil {
			return true
		}
	}
	return false
}

// passwordsStay looks for the passwords of a lab's BGP sessions in everything that it and a run of its scenarios
// have written, in what spklab says of it, and in the command lines of all processes.
func passwordsStay(t *testing.T, name, artifacts string) {
	var passwords [][]byte
	for _, r := range openLab(t, name).Spec.Routers {
		for _, n := range r.Neighbors {
			passwords = append(passwords, []byte(n.Password))
		}
	}
	if len(passwords) == 0 || len(passwords[0]) == 0 {
		t.Fatal("the lab has no passwords")
	}
	tells := func(data []byte) bool {
		for _, p := range passwords {
			if bytes.Contains(data, p) {
				return true
			}
		}
		return false
	}
	held := 0
	eachFile(t, filepath.Join(built.state, name), func(path string, mode fs.FileMode, data []byte) {
		switch {
		case tells(data) && !isConfiguration(path):
			t.Errorf("%s tells a password", path)
		case tells(data) && mode.Perm()&0o077 != 0:
			t.Errorf("%s has a password and mode %s", path, mode)
		case tells(data):
			held++
		}
	})
	if held == 0 {
		t.Error("no configuration has a password: it is not looked for in the right way")
	}
	saved := filepath.Join(artifacts, "saved.json.gz")
	said := map[string][]byte{"state save": mustSpklab(t, "state", "save", saved, "--lab", name)}
	for _, command := range []string{"inspect -o json", "inspect bgp -o json", "events -o json", "explain vip 192.0.2.10 -o json", "inspect vs"} {
		said[command] = mustSpklab(t, append(strings.Fields(command), "--lab", name)...)
	}
	for command, out := range said {
		if tells(out) {
			t.Errorf("spklab %s tells a password", command)
		}
	}
	eachFile(t, artifacts, func(path string, _ fs.FileMode, data []byte) {
		if tells(data) {
			t.Errorf("the run's %s tells a password", path)
		}
	})
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range lines {
		if line, err := os.ReadFile(f); err == nil && tells(line) { // one that cannot be read has ended
			t.Errorf("a command line tells a password: %s", bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
		}
	}
}

// eachFile calls f with each regular file below a directory, unpacked where it is compressed.
func eachFile(t *testing.T, dir string, f func(path string, mode fs.FileMode, data []byte)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, ".gz") {
			in, err := gzip.NewReader(bytes.NewReader(data))
			if err != nil {
				return err
			}
			if data, err = io.ReadAll(in); err != nil {
				return err
			}
		}
		rel, err := filepath.Rel(dir, path)
		f(rel, info.Mode(), data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
