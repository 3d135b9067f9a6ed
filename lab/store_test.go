package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/spklab/spklab/dataplane/api"
)

// TestStoreIsReadWhileItIsWritten: whoever lists the objects without the lab's lock sees each as it was or as it is,
// whatever is written and deleted meanwhile.
func TestStoreIsReadWhileItIsWritten(t *testing.T) {
	s := newStore(t.TempDir())
	namespace := func(name, word string) api.Object {
		raw := fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: {word: %s}}\n", name, word)
		return api.Object{Kind: api.KindNamespace, Name: name, Raw: []byte(raw)}
	}
	if err := s.putRaw(namespace("stays", "a")); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- churn(s, namespace, stop) }()
	for range 2000 {
		all, err := s.objects()
		if err != nil {
			t.Error(err)
			break
		}
		seen := map[string]int{}
		for _, o := range all {
			seen[o.Name]++
		}
		if seen["stays"] != 1 || seen["goes"] > 1 {
			t.Errorf("objects by name: %v", seen)
			break
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// churn changes one object and makes and deletes another until stop.
func churn(s store, namespace func(name, word string) api.Object, stop chan struct{}) error {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return nil
		default:
		}
		word := fmt.Sprint("w", i)
		if err := s.putRaw(namespace("stays", word)); err != nil {
			return err
		}
		if err := s.putRaw(namespace("goes", word)); err != nil {
			return err
		}
		if err := s.remove(api.KindNamespace, "", "goes"); err != nil {
			return err
		}
	}
}

// TestStoreKnowsNoUnfinishedObject: what a killed writer left behind is no object.
func TestStoreKnowsNoUnfinishedObject(t *testing.T) {
	s := newStore(t.TempDir())
	raw := "apiVersion: v1\nkind: Namespace\nmetadata: {name: whole}\n"
	if err := s.putRaw(api.Object{Kind: api.KindNamespace, Name: "whole", Raw: []byte(raw)}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, ".tmp-namespace..whole.yaml"), []byte(raw[:40]), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := s.objects()
	if err != nil || len(all) != 1 {
		t.Errorf("objects are %v, %v; want the one that is whole", all, err)
	}
}
