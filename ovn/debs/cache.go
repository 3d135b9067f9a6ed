package debs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// EnvCache names the environment variable that says where the cache is.
const EnvCache = "SPKLAB_CACHE"

// Cache is a directory with private roots, one a release.
type Cache struct{ Dir string }

// DefaultCache is the directory that SPKLAB_CACHE names. Without it, it is /var/cache/spklab for root,
// and spklab in the user's own cache directory (XDG_CACHE_HOME) for others.
func DefaultCache() (Cache, error) {
	if dir := os.Getenv(EnvCache); dir != "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return Cache{}, fmt.Errorf("find cache: %w", err)
		}
		return Cache{abs}, nil
	}
	if os.Geteuid() == 0 {
		return Cache{"/var/cache/spklab"}, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return Cache{}, fmt.Errorf("find cache: %w", err)
	}
	return Cache{filepath.Join(dir, "spklab")}, nil
}

// Progress is told what is being done, with Total 0 where nothing is counted.
type Progress func(text string, done, total int)

// Errors of Open.
var (
	ErrAbsent  = errors.New("not in the cache")
	ErrDamaged = errors.New("damaged")
)

// Path is where the root of a release stands, whether it is there or not.
func (c Cache) Path(release string) string {
	return filepath.Join(c.Dir, "ovn-"+release+"-"+runtime.GOARCH)
}

// Open returns the root of a release after a look at all that it holds. The error is of kind
// ErrAbsent where there is none, and of kind ErrDamaged where something differs from what was
// unpacked.
func (c Cache) Open(release string) (string, error) { return c.open(release, check) }

// Look is Open for who wants to know and not to use: it reads no file, which takes minutes where the cache is on a
// slow file system, so what was changed inside of one is not found.
func (c Cache) Look(release string) (string, error) { return c.open(release, glance) }

func (c Cache) open(release string, check func(dir string) error) (string, error) {
	dir := c.Path(release)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("OVN %s is %w (%s): `spklab fetch %s` downloads it", release, ErrAbsent, dir, release)
	}
	if err := check(dir); err != nil {
		return "", fmt.Errorf("OVN %s in %s is %w: %w; `spklab fetch %s` replaces it", release, dir, ErrDamaged, err, release)
	}
	return dir, nil
}

// Fetch returns the root of a release. One that is there and whole is used without the network; else it
// is downloaded and takes its place in one step, a damaged one replaced. Several calls at once, also
// of other processes, download once. What a killed call leaves is removed by the next one.
func (c Cache) Fetch(ctx context.Context, release string, tell Progress) (string, error) {
	return c.fetch(ctx, release, tell, build)
}

// builder makes the root of a release in the directory work/root, to be used at final.
type builder func(ctx context.Context, release, work, final string, tell Progress) error

// Names in a cache.
const (
	lockName   = "lock"
	workPrefix = ".work-"
	rootName   = "root"
)

func (c Cache) fetch(ctx context.Context, release string, tell Progress, build builder) (string, error) {
	final := c.Path(release)
	return c.keep(ctx, final, func() error { _, err := c.Open(release); return err }, tell,
		func(work string, tell Progress) error { return build(ctx, release, work, final, tell) })
}

// keep returns the directory final, which open finds whole. Where it does not, build makes it anew, as
// the directory work/root.
func (c Cache) keep(ctx context.Context, final string, open func() error, tell Progress, build func(work string, tell Progress) error) (_ string, err error) {
	if tell == nil {
		tell = func(string, int, int) {}
	}
	if open() == nil {
		return final, nil
	}
	if err := c.make(); err != nil {
		return "", err
	}
	unlock, err := c.lock(ctx, tell)
	if err != nil {
		return "", err
	}
	defer unlock()
	if open() == nil { // somebody else was quicker
		return final, nil
	}
	if err := c.sweep(); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(c.Dir, workPrefix)
	if err != nil {
		return "", fmt.Errorf("make directory for a download: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	if err := build(work, tell); err != nil {
		return "", err
	}
	if err := os.Rename(final, filepath.Join(work, "old")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("put the damaged root away: %w", err)
	}
	if err := os.Rename(filepath.Join(work, rootName), final); err != nil {
		return "", fmt.Errorf("put the root in place: %w", err)
	}
	return final, open()
}

// make makes the cache, and refuses one that others could write to: its programs run as root.
func (c Cache) make() error {
	if strings.ContainsAny(c.Dir, "\"'`$\\\n") {
		return fmt.Errorf("cache %q: choose a path without quotes, $, \\ and line ends", c.Dir)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("make cache: %w", err)
	}
	st, err := os.Stat(c.Dir)
	if err != nil {
		return fmt.Errorf("look at cache: %w", err)
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || int(sys.Uid) != os.Geteuid() || st.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("cache %s: others may write to it: chmod 700, or set %s to a directory of your own", c.Dir, EnvCache)
	}
	return nil
}

// lockPoll is how often a cache that somebody else works on is tried.
const lockPoll = 100 * time.Millisecond

// lock waits until nobody else downloads.
func (c Cache) lock(ctx context.Context, tell Progress) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(c.Dir, lockName), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock of cache: %w", err)
	}
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for said := false; ; said = true {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil // which releases the lock
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock cache: %w", err), f.Close())
		}
		if !said {
			tell("waiting for another download into "+c.Dir, 0, 0)
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-tick.C:
		}
	}
}

// sweep removes what killed downloads left.
func (c Cache) sweep() error {
	left, err := filepath.Glob(filepath.Join(c.Dir, workPrefix+"*"))
	if err != nil {
		return fmt.Errorf("list cache: %w", err)
	}
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove what a download left: %w", err)
		}
	}
	return nil
}
