package vm

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestArchive has cpio(1) read what is written.
func TestArchive(t *testing.T) {
	cpio, err := exec.LookPath("cpio")
	if err != nil {
		t.Skip(err)
	}
	from := t.TempDir()
	for name, text := range map[string]string{"a/one": "1", "a/b/three": "333", "four": "4444"} {
		file := filepath.Join(from, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	a := newArchive(&out)
	a.dir("bin")
	a.tree(from, "work")
	if err := a.end(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(cpio, "--extract", "--make-directories", "--quiet")
	cmd.Dir, cmd.Stdin = t.TempDir(), &out
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v: %s", err, said)
	}
	if st, err := os.Stat(filepath.Join(cmd.Dir, "bin")); err != nil || !st.IsDir() {
		t.Errorf("bin: %v", err)
	}
	got := map[string]string{}
	for _, name := range []string{"work/a/one", "work/a/b/three", "work/four"} {
		text, err := os.ReadFile(filepath.Join(cmd.Dir, name))
		if err != nil {
			t.Error(err)
		}
		got[name] = string(text)
	}
	if diff := cmp.Diff(map[string]string{"work/a/one": "1", "work/a/b/three": "333", "work/four": "4444"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestArchiveAligned: every header and all data begin at a multiple of four.
func TestArchiveAligned(t *testing.T) {
	for size := range int64(9) {
		var out bytes.Buffer
		a := newArchive(&out)
		a.put(entry{name: "f", mode: typeFile | 0o600, size: size}, strings.NewReader("12345678"))
		if err := a.end(); err != nil {
			t.Fatal(err)
		}
		if out.Len()%4 != 0 || bytes.LastIndex(out.Bytes(), []byte("070701"))%4 != 0 {
			t.Errorf("a file of %d octets: the trailer is at %d", size, bytes.LastIndex(out.Bytes(), []byte("070701")))
		}
	}
}

// TestArchiveCut: a file that is shorter than it was makes no archive.
func TestArchiveCut(t *testing.T) {
	a := newArchive(io.Discard)
	a.put(entry{name: "f", mode: typeFile, size: 9}, strings.NewReader("12345678"))
	if err := a.end(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}
