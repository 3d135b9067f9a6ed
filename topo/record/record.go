// Package record keeps a document for each device that is changed: what it was before. A document is whole or
// not there, wherever a kill comes.
package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Dir is a directory of documents, one JSON file of mode 0600 for each key, which is to be a name of a file. It is
// made, with mode 0700, when the first one comes.
type Dir[T any] struct {
	Path string
	What string // that a document is about, for errors: "PF"
}

const suffix = ".json"

func (d Dir[T]) path(key string) string { return filepath.Join(d.Path, key+suffix) }

// Get is the document of a key, nil when there is none.
func (d Dir[T]) Get(key string) (*T, error) {
	data, err := os.ReadFile(d.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var doc T
	if err == nil {
		err = json.Unmarshal(data, &doc)
	}
	if err != nil {
		return nil, fmt.Errorf("read record of %s %s: %w", d.What, key, err)
	}
	return &doc, nil
}

// All are the documents in the order of their keys.
func (d Dir[T]) All() ([]T, error) {
	paths, err := filepath.Glob(filepath.Join(d.Path, "*"+suffix))
	if err != nil {
		return nil, fmt.Errorf("list records of %ss: %w", d.What, err)
	}
	var out []T
	for _, p := range paths {
		doc, err := d.Get(strings.TrimSuffix(filepath.Base(p), suffix))
		if err != nil {
			return nil, err
		}
		if doc != nil {
			out = append(out, *doc)
		}
	}
	return out, nil
}

// Put puts the document of a key in its place in one step.
func (d Dir[T]) Put(key string, doc T) error {
	data, err := json.MarshalIndent(doc, "", "  ")
	if err == nil {
		err = os.MkdirAll(d.Path, 0o700)
	}
	part := d.path(key) + ".part"
	if err == nil {
		err = os.WriteFile(part, append(data, '\n'), 0o600)
	}
	if err == nil {
		err = os.Rename(part, d.path(key))
	}
	if err != nil {
		return fmt.Errorf("write record of %s %s: %w", d.What, key, err)
	}
	return nil
}

// Forget removes the document of a key, if there is one.
func (d Dir[T]) Forget(key string) error {
	if err := os.Remove(d.path(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove record of %s %s: %w", d.What, key, err)
	}
	return nil
}
