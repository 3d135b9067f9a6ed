package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/lab/topologies"
	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/topo/fabric"
	"github.com/spklab/spklab/topo/sriov"
)

// suffix is how the names of lab files end.
const suffix = ".spklab.yml"

// shippedPrefix is how messages call the files of topologies that ship with the binary.
const shippedPrefix = "shipped:"

// Source is a lab file with the manifests that it names, read and decoded.
type Source struct {
	File     string // as messages name it
	Spec     *topo.Lab
	Objects  []api.Object
	Warnings []api.Warning
	Digest   string // SHA-256 of the lab file and the manifests, in their order, hex
	// Hardware are the SR-IOV cards of this machine that the lab uses, by PCI address, nil for none;
	// Inventory is what the machine had when they were looked up. UseHardware sets both.
	Hardware  *topo.Hardware
	Inventory sriov.Inventory
}

// Shipped lists the topologies that ship with the binary, sorted.
func Shipped() ([]string, error) {
	entries, err := topologies.FS.ReadDir(".")
	if err != nil {
		return nil, fmt.Errorf("list shipped topologies: %w", err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// Load finds the lab file that arg means and reads it with its manifests: a file, a directory
// with one lab file, NAME for NAME.spklab.yml in dir, or a topology that ships with the binary.
// An empty arg means the one lab file in dir. Mistakes in the files are joined InputErrors of
// topo or api.
func Load(dir, arg string) (*Source, error) {
	at, err := find(dir, arg)
	if err != nil {
		return nil, err
	}
	data, err := fs.ReadFile(at.fsys, path.Join(at.dir, at.file))
	if err != nil {
		return nil, fmt.Errorf("read lab file: %w", err)
	}
	spec, err := fabric.Parse(at.label, data)
	if err != nil {
		return nil, err
	}
	s := &Source{File: at.label, Spec: spec}
	digest := sha256.New()
	_, _ = digest.Write(data) // a hash takes everything
	err = s.readManifests(at, digest)
	s.Digest = hex.EncodeToString(digest.Sum(nil))
	return s, err
}

// site is where a lab file stands.
type site struct {
	fsys  fs.FS
	dir   string // in fsys; what the file names may be beside it or above
	file  string // in dir
	label string // the file's name for messages
}

// on is the place of a file on disk.
func on(dir, file, label string) (site, error) {
	full, err := filepath.Abs(dir)
	if err != nil {
		return site{}, fmt.Errorf("find %s: %w", dir, err)
	}
	return site{os.DirFS("/"), path.Join(".", full), file, label}, nil
}

// glob lists the files that a pattern means, as seen from the lab file.
func (p site) glob(pattern string) ([]string, error) {
	dir := strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(p.dir)
	return fs.Glob(p.fsys, path.Join(dir, pattern))
}

// find is the place of the lab file that arg means.
func find(dir, arg string) (site, error) {
	if arg == "" {
		file, err := only(dir)
		if err != nil {
			return site{}, err
		}
		return on(dir, file, filepath.Join(dir, file))
	}
	full := arg
	if !filepath.IsAbs(arg) {
		full = filepath.Join(dir, arg)
	}
	if fi, err := os.Stat(full); err == nil {
		if !fi.IsDir() {
			return on(filepath.Dir(full), filepath.Base(full), arg)
		}
		file, err := only(full)
		if err != nil {
			return site{}, err
		}
		return on(full, file, filepath.Join(arg, file))
	}
	if _, err := os.Stat(full + suffix); err == nil {
		return on(filepath.Dir(full), filepath.Base(full)+suffix, arg+suffix)
	}
	name := strings.TrimSuffix(arg, suffix)
	if _, err := fs.Stat(topologies.FS, name+"/"+name+suffix); err == nil {
		return site{topologies.FS, name, name + suffix, shippedPrefix + name + "/" + name + suffix}, nil
	}
	shipped, err := Shipped()
	if err != nil {
		return site{}, err
	}
	return site{}, &topo.InputError{
		File: arg, Message: fmt.Sprintf("no such lab file, directory or topology; topologies that ship with spklab: %s", strings.Join(shipped, ", ")),
	}
}

// only is the one lab file of a directory.
func only(dir string) (string, error) {
	files, err := fs.Glob(os.DirFS(dir), "*"+suffix)
	if err != nil {
		return "", fmt.Errorf("look for lab files: %w", err)
	}
	switch len(files) {
	case 1:
		return files[0], nil
	case 0:
		return "", &topo.InputError{File: dir, Message: "no lab file (NAME" + suffix + ") here; name a file, a directory or a topology such as spk"}
	}
	return "", &topo.InputError{File: dir, Message: "several lab files here: " + strings.Join(files, ", ") + "; name one"}
}

// readManifests reads what the lab file names, in the order of the names, and writes it to digest.
func (s *Source) readManifests(at site, digest io.Writer) error {
	var files []string
	for i, glob := range s.Spec.Manifests {
		matches, err := at.glob(glob)
		if err != nil || len(matches) == 0 {
			return &topo.InputError{File: at.label, Path: fmt.Sprintf("manifests[%d]", i), Text: glob, Message: "matches no file, seen from the lab file; mend the path or leave it out"}
		}
		files = append(files, matches...)
	}
	slices.Sort(files)
	files = slices.Compact(files)
	if s.Spec.Values != "" {
		files = append(files, path.Join(at.dir, s.Spec.Values))
	}
	var errs []error
	for _, f := range files {
		data, err := fs.ReadFile(at.fsys, f)
		if err != nil {
			errs = append(errs, fmt.Errorf("read manifest: %w", err))
			continue
		}
		_, _ = digest.Write(data) // a hash takes everything
		objs, err := split(at.name(f), data)
		s.Objects = append(s.Objects, objs...)
		errs = append(errs, err)
	}
	_, warnings, err := api.Decode(s.Objects)
	s.Warnings = warnings
	return errors.Join(append(errs, err)...)
}

// name is a file of fsys for messages, beside or above the lab file's label.
func (p site) name(file string) string {
	below, err := filepath.Rel(p.dir, file)
	if err != nil {
		below = file
	}
	if label, ok := strings.CutPrefix(p.label, shippedPrefix); ok {
		return shippedPrefix + path.Join(path.Dir(label), below)
	}
	return path.Join(path.Dir(p.label), below)
}

// ReadFiles reads manifests for Apply; the path - is standard input.
func ReadFiles(paths []string, stdin func() ([]byte, error)) ([]api.Object, []api.Warning, error) {
	var objs []api.Object
	for _, p := range paths {
		data, err := readFile(p, stdin)
		if err != nil {
			return nil, nil, err
		}
		more, err := split(p, data)
		if err != nil {
			return nil, nil, err
		}
		objs = append(objs, more...)
	}
	_, warnings, err := api.Decode(objs)
	return objs, warnings, err
}

// split is api.Split for a file that somebody named: one without an object is a mistake.
func split(file string, data []byte) ([]api.Object, error) {
	objs, err := api.Split(file, data)
	if err == nil && len(objs) == 0 {
		err = &api.InputError{File: file, Line: 1, Column: 1, Message: "holds no object; write apiVersion, kind and metadata, or remove the file"}
	}
	return objs, err
}

func readFile(p string, stdin func() ([]byte, error)) ([]byte, error) {
	if p == "-" {
		return stdin()
	}
	data, err := os.ReadFile(p)
	if err != nil {
		return nil, &api.InputError{File: p, Message: err.Error()}
	}
	return data, nil
}
