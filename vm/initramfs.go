package vm

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// archive writes an initramfs: cpio in the format newc (Documentation/driver-api/early-userspace/buffer-format.rst).
type archive struct {
	w     *bufio.Writer
	at    int64
	inode int
	err   error // the first one
}

func newArchive(w io.Writer) *archive { return &archive{w: bufio.NewWriterSize(w, 1<<20)} }

// Types in an entry's mode.
const (
	typeDir  = 0o040000
	typeFile = 0o100000
	typeChar = 0o020000
)

// entry is a file, directory or device of an archive. Directories come before what is in them.
type entry struct {
	name         string
	mode         uint32
	size         int64
	major, minor uint32 // of a device
}

// put writes one entry; data has size octets.
func (a *archive) put(e entry, data io.Reader) {
	a.inode++
	links := 1
	if e.mode&typeDir != 0 && e.mode&typeFile != typeFile {
		links = 2
	}
	a.text(fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		a.inode, e.mode, 0, 0, links, 0, e.size, 0, 0, e.major, e.minor, len(e.name)+1, 0, e.name))
	a.pad()
	if e.size > 0 && a.err == nil {
		n, err := io.Copy(a.w, io.LimitReader(data, e.size))
		a.at += n
		if err == nil && n != e.size {
			err = fmt.Errorf("%s: %d octets of %d: %w", e.name, n, e.size, io.ErrUnexpectedEOF)
		}
		a.err = err
	}
	a.pad()
}

func (a *archive) text(s string) {
	if a.err == nil {
		_, a.err = a.w.WriteString(s)
		a.at += int64(len(s))
	}
}

// pad goes on to a multiple of four.
func (a *archive) pad() { a.text("\x00\x00\x00"[:(4-a.at%4)%4]) }

func (a *archive) dir(name string) { a.put(entry{name: name, mode: typeDir | 0o755}, nil) }

// file puts a file of the machine.
func (a *archive) file(from, name string, mode fs.FileMode) {
	if a.err != nil {
		return
	}
	f, err := os.Open(from)
	if err != nil {
		a.err = err
		return
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		a.err = err
		return
	}
	a.put(entry{name: name, mode: typeFile | uint32(mode.Perm()), size: st.Size()}, f)
}

// tree puts a file, or a directory with all that is in it but links and devices.
func (a *archive) tree(from, name string) {
	err := filepath.WalkDir(from, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		to := path.Join(name, filepath.ToSlash(below))
		switch {
		case e.IsDir():
			a.dir(to)
		case e.Type().IsRegular():
			st, err := e.Info()
			if err != nil {
				return err
			}
			a.file(p, to, st.Mode())
		}
		return a.err
	})
	if a.err == nil {
		a.err = err
	}
}

// end ends the archive, and returns the first error of all that was done.
func (a *archive) end() error {
	a.put(entry{name: "TRAILER!!!"}, nil)
	if a.err == nil {
		a.err = a.w.Flush()
	}
	if a.err != nil {
		return fmt.Errorf("write initramfs: %w", a.err)
	}
	return nil
}
