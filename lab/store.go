package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/spklab/spklab/dataplane/api"
)

// store is the lab's object store: one object a file, replaced in one piece, so that whoever
// watches the directory sees an object as it was or as it is.
type store struct {
	dir   string
	files *api.Directory // the same, of which only what has changed is parsed again
	last  *sync.Map      // an encoded by file, as put last
}

// encoded is an object in both its forms.
type encoded struct{ json, yaml []byte }

func newStore(dir string) store { return store{dir, api.NewDirectory(dir), &sync.Map{}} }

// read returns every object.
func (s store) read() (api.Resources, error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return api.Resources{}, fmt.Errorf("make object store: %w", err)
	}
	res, _, err := s.files.Read()
	return res, err
}

// objects returns every object undecoded, as it stands in its file. As for read, nobody need hold the lab's lock.
func (s store) objects() ([]api.Object, error) {
	files, err := filepath.Glob(filepath.Join(s.dir, "[^.]*.yaml")) // one with a dot is being written
	if err != nil {
		return nil, fmt.Errorf("list object store: %w", err)
	}
	var out []api.Object
	for _, f := range files {
		data, err := os.ReadFile(f)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it is deleted meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("read object store: %w", err)
		}
		objs, err := api.Split(f, data)
		if err != nil {
			return nil, err
		}
		out = append(out, objs...)
	}
	return out, nil
}

// putRaw keeps a document as its author wrote it.
func (s store) putRaw(o api.Object) error { return s.write(o.StoreName(), o.Raw) }

// put keeps an object that the lab's controllers own.
func (s store) put(kind string, m metav1.Object, obj any) error {
	name := api.StoreName(kind, m.GetNamespace(), m.GetName())
	now := encoded{}
	var err error
	if now.json, err = json.Marshal(obj); err != nil {
		return fmt.Errorf("encode %s: %w", api.Ref(kind, m), err)
	}
	if was, ok := s.last.Load(name); ok && bytes.Equal(was.(encoded).json, now.json) {
		return s.write(name, was.(encoded).yaml) // most are as they were, and YAML takes ten times as long
	}
	if now.yaml, err = yaml.JSONToYAML(now.json); err != nil {
		return fmt.Errorf("encode %s: %w", api.Ref(kind, m), err)
	}
	s.last.Store(name, now)
	return s.write(name, now.yaml)
}

// write replaces a file unless it holds the same already.
func (s store) write(name string, data []byte) error {
	path := filepath.Join(s.dir, name)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return nil
	}
	tmp := filepath.Join(s.dir, ".tmp-"+name)
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("write object: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("put object in place: %w", err)
	}
	return nil
}

// remove deletes an object; an absent one is an error of kind fs.ErrNotExist.
func (s store) remove(kind, namespace, name string) error {
	if err := os.Remove(filepath.Join(s.dir, api.StoreName(kind, namespace, name))); err != nil {
		return fmt.Errorf("delete %s: %w", api.Object{Kind: kind, Namespace: namespace, Name: name}, err)
	}
	return nil
}

// putControlled writes the objects that controllers own and deletes those that they deleted.
func (s store) putControlled(old, now api.Resources) error {
	var errs []error
	keep := map[string]bool{}
	put := func(kind string, m metav1.Object, obj any) {
		keep[api.StoreName(kind, m.GetNamespace(), m.GetName())] = true
		errs = append(errs, s.put(kind, m, obj))
	}
	for i := range now.Nodes {
		put(api.KindNode, &now.Nodes[i], &now.Nodes[i])
	}
	for i := range now.Deployments {
		put(api.KindDeployment, &now.Deployments[i], &now.Deployments[i])
	}
	for i := range now.Pods {
		put(api.KindPod, &now.Pods[i], &now.Pods[i])
	}
	for i := range now.EndpointSlices {
		put(api.KindEndpointSlice, &now.EndpointSlices[i], &now.EndpointSlices[i])
	}
	for _, name := range controlledNames(old) {
		if !keep[name] {
			if err := os.Remove(filepath.Join(s.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, fmt.Errorf("delete object: %w", err))
			}
		}
	}
	return errors.Join(errs...)
}

func controlledNames(r api.Resources) []string {
	var names []string
	add := func(kind string, m metav1.Object) {
		names = append(names, api.StoreName(kind, m.GetNamespace(), m.GetName()))
	}
	for i := range r.Nodes {
		add(api.KindNode, &r.Nodes[i])
	}
	for i := range r.Deployments {
		add(api.KindDeployment, &r.Deployments[i])
	}
	for i := range r.Pods {
		add(api.KindPod, &r.Pods[i])
	}
	for i := range r.EndpointSlices {
		add(api.KindEndpointSlice, &r.EndpointSlices[i])
	}
	return slices.Clip(names)
}
