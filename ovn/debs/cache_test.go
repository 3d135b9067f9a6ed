package debs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

const release = "25.03"

// fake is a builder that makes a small root without the network, and counts how often.
func fake(t *testing.T, calls *atomic.Int32) builder {
	return func(_ context.Context, _, work, _ string, _ Progress) error {
		calls.Add(1)
		root := filepath.Join(work, rootName)
		write(t, filepath.Join(root, "usr/bin/ovn-nbctl"), "a program")
		write(t, filepath.Join(root, "usr/lib/libssl.so.3.1"), "a library")
		if err := os.Symlink("libssl.so.3.1", filepath.Join(root, "usr/lib/libssl.so.3")); err != nil {
			return err
		}
		return record(root)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func fetch(t *testing.T, c Cache, b builder) string {
	t.Helper()
	dir, err := c.fetch(t.Context(), release, nil, b)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// cached are the names in the cache but for the lock.
func cached(t *testing.T, c Cache) string {
	t.Helper()
	list, err := os.ReadDir(c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range list {
		if e.Name() != lockName {
			out = append(out, e.Name())
		}
	}
	return strings.Join(out, " ")
}

// TestFetchOnce: a root is made once, by however many callers, and nothing stays beside it.
func TestFetchOnce(t *testing.T) {
	c := Cache{filepath.Join(t.TempDir(), "cache")}
	if _, err := c.Open(release); !errors.Is(err, ErrAbsent) || !strings.Contains(err.Error(), "spklab fetch 25.03") {
		t.Fatalf("an empty cache: %v", err)
	}
	if _, err := c.Look(release); !errors.Is(err, ErrAbsent) {
		t.Errorf("a look into an empty cache: %v", err)
	}
	var calls atomic.Int32
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if _, err := c.fetch(t.Context(), release, nil, fake(t, &calls)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if calls.Load() != 1 {
		t.Errorf("made %d times, want once", calls.Load())
	}
	if got, want := cached(t, c), filepath.Base(c.Path(release)); got != want {
		t.Errorf("the cache has %q, want %q", got, want)
	}
	if st, err := os.Stat(c.Dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("mode of the cache: %v, %v", st.Mode(), err)
	}
}

// TestFetchCutOff: what a failed or killed download leaves is no root, and the next one removes it.
func TestFetchCutOff(t *testing.T) {
	c := Cache{filepath.Join(t.TempDir(), "cache")}
	broken := errors.New("no network")
	_, err := c.fetch(t.Context(), release, nil, func(_ context.Context, _, work, _ string, _ Progress) error {
		write(t, filepath.Join(work, rootName, "usr/bin/ovn-nbctl"), "half a pro")
		return broken
	})
	if !errors.Is(err, broken) || cached(t, c) != "" {
		t.Fatalf("a download that failed: %v, and leaves %q", err, cached(t, c))
	}
	write(t, filepath.Join(c.Dir, workPrefix+"123", rootName, "usr/bin/ovn-nbctl"), "killed")
	var calls atomic.Int32
	fetch(t, c, fake(t, &calls))
	if got, want := cached(t, c), filepath.Base(c.Path(release)); got != want {
		t.Errorf("after a killed download the cache has %q, want %q", got, want)
	}
}

// TestOpenNotices: whatever differs from what was unpacked is named, and the next Fetch mends it.
func TestOpenNotices(t *testing.T) {
	for _, tc := range []struct {
		name   string
		spoil  func(t *testing.T, root string)
		word   string
		inside bool // a look at the names does not find it
	}{
		{"a changed byte", func(t *testing.T, root string) { write(t, filepath.Join(root, "usr/bin/ovn-nbctl"), "b program") }, "usr/bin/ovn-nbctl is not what was unpacked", true},
		{"a cut file", func(t *testing.T, root string) { write(t, filepath.Join(root, "usr/bin/ovn-nbctl"), "") }, "usr/bin/ovn-nbctl is not what was unpacked", true},
		{"a file that is gone", func(t *testing.T, root string) { remove(t, filepath.Join(root, "usr/bin/ovn-nbctl")) }, "usr/bin/ovn-nbctl is gone", false},
		{"a library that is gone", func(t *testing.T, root string) { remove(t, filepath.Join(root, "usr/lib/libssl.so.3.1")) }, "usr/lib/libssl.so.3", false},
		{"a file too many", func(t *testing.T, root string) { write(t, filepath.Join(root, "usr/lib/libevil.so"), "x") }, "usr/lib/libevil.so was not unpacked", false},
		{"a link that leads out", func(t *testing.T, root string) {
			remove(t, filepath.Join(root, "usr/lib/libssl.so.3"))
			if err := os.Symlink("/etc/passwd", filepath.Join(root, "usr/lib/libssl.so.3")); err != nil {
				t.Fatal(err)
			}
		}, "usr/lib/libssl.so.3", false},
		{"no digests", func(t *testing.T, root string) { remove(t, filepath.Join(root, digestName)) }, "no digests", false},
		{"empty digests", func(t *testing.T, root string) { write(t, filepath.Join(root, digestName), "") }, "empty", false},
		{"cut digests", func(t *testing.T, root string) { write(t, filepath.Join(root, digestName), "0123456789") }, "makes no sense", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := Cache{filepath.Join(t.TempDir(), "cache")}
			var calls atomic.Int32
			root := fetch(t, c, fake(t, &calls))
			tc.spoil(t, root)
			if _, err := c.Open(release); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), tc.word) {
				t.Errorf("Open says %v, want it to name %q", err, tc.word)
			}
			_, err := c.Look(release)
			if found := errors.Is(err, ErrDamaged) && strings.Contains(err.Error(), tc.word); found == tc.inside {
				t.Errorf("Look says %v of %q", err, tc.word)
			}
			fetch(t, c, fake(t, &calls))
			if calls.Load() != 2 || cached(t, c) != filepath.Base(root) {
				t.Errorf("made %d times, leaves %q", calls.Load(), cached(t, c))
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// TestFetchRefuses: a cache that others may write to is not used.
func TestFetchRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int32
	if _, err := (Cache{dir}).fetch(t.Context(), release, nil, fake(t, &calls)); err == nil || !strings.Contains(err.Error(), EnvCache) {
		t.Errorf("a cache that everybody may write to: %v", err)
	}
	if _, err := (Cache{"/tmp/it's"}).fetch(t.Context(), release, nil, fake(t, &calls)); err == nil {
		t.Error("a path with a quote is not refused")
	}
	if calls.Load() != 0 {
		t.Error("something was made")
	}
}

func TestDefaultCache(t *testing.T) {
	t.Setenv(EnvCache, "/somewhere/else")
	c, err := DefaultCache()
	if err != nil || c.Dir != "/somewhere/else" {
		t.Errorf("%v, %v; want what %s says", c, err, EnvCache)
	}
}
