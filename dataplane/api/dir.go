package api

import "context"

// ReadDir reads every .yaml, .yml and .json file of dir (not of its subdirectories; names that
// start with a dot are skipped). The error joins the InputErrors of unreadable objects; the
// Resources hold all others all the same.
func ReadDir(dir string) (Resources, []Warning, error) { return Resources{}, nil, nil }

// Watch calls f with the content of dir at once and after each change (a few milliseconds
// after the last of a burst), until ctx ends. f is never called twice at a time. An unreadable
// object becomes a warning, and the last readable version of the others counts.
func Watch(ctx context.Context, dir string, f func(Resources, []Warning)) error { return nil }
