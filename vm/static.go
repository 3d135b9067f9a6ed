package vm

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
)

// ErrNotStatic says that a program asks for libraries that the guest does not have.
var ErrNotStatic = errors.New("not a static program")

// static finds what of the job needs a loader where there is none: process 1 always, and the command where the
// guest has no files of the machine's.
func (j Job) static() error {
	programs := []string{j.Init}
	if from, ok := j.Put[j.Argv[0]]; ok && !j.Host {
		programs = append(programs, from)
	}
	for _, path := range programs {
		if err := checkStatic(path); err != nil {
			return err
		}
	}
	return nil
}

// checkStatic fails for a program with a loader (PT_INTERP). What is no ELF file the guest's kernel will refuse by name.
func checkStatic(path string) error {
	f, err := elf.Open(path)
	var format *elf.FormatError
	if errors.As(err, &format) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at program: %w", err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s: %w; build it with CGO_ENABLED=0, as make build does", path, ErrNotStatic)
		}
	}
	return nil
}
