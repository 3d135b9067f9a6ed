package state

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// What is collected; differences go by these names.
const (
	Processes  = "processes"
	Manifests  = "manifests"
	Links      = "links"
	Rules      = "rules"
	Routes     = "routes"
	Neighbours = "neighbours"
	RIB        = "rib"
	NBRows     = "nb rows"
	Forwarding = "ovn forwarding"
	Proxy      = "proxy"
	Maps       = "bpf maps"
	Flows      = "ovs flows"
	Conntrack  = "conntrack"
	Counters   = "counters"
)

// Objects are the values of one collector at one node, each a line of text under a key.
type Objects map[string]string

// Gap is something that a snapshot does not have, and why. What a gap covers is not compared.
type Gap struct {
	Collector string `json:"collector"`
	Node      string `json:"node,omitempty"`
	// Prefix is what the keys that are missing begin with, empty for all of them.
	Prefix string `json:"prefix,omitempty"`
	Why    string `json:"why"`
}

// Version of a snapshot's form; it grows when a value changes its meaning.
const Version = 1

// Snapshot is a lab at one moment.
type Snapshot struct {
	Version int           `json:"version"`
	Lab     string        `json:"lab"`
	Taken   time.Time     `json:"taken"`
	At      int64         `json:"at_ns"` // CLOCK_MONOTONIC
	Took    time.Duration `json:"took_ns"`
	// Values are by collector, node and key; what belongs to no node has the empty one.
	Values map[string]map[string]Objects `json:"values"`
	Gaps   []Gap                         `json:"gaps"`
}

// put adds what a collector found at a node.
func (s *Snapshot) put(collector, node string, found Objects) {
	if s.Values[collector] == nil {
		s.Values[collector] = map[string]Objects{}
	}
	s.Values[collector][node] = found
}

// Entries is how many values there are.
func (s *Snapshot) Entries() int {
	n := 0
	for _, nodes := range s.Values {
		for _, objects := range nodes {
			n += len(objects)
		}
	}
	return n
}

// missing says whether a gap covers an object.
func (s *Snapshot) missing(collector, node, object string) bool {
	return slices.ContainsFunc(s.Gaps, func(g Gap) bool {
		return g.Collector == collector && g.Node == node && strings.HasPrefix(object, g.Prefix)
	})
}

// Save writes a snapshot as compressed JSON, in one piece.
func (s *Snapshot) Save(path string) (err error) {
	tmp := filepath.Join(filepath.Dir(path), ".tmp-"+filepath.Base(path))
	f, err := os.Create(tmp)
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp))
		}
	}()
	z := gzip.NewWriter(f)
	if err := errors.Join(json.NewEncoder(z).Encode(s), z.Close(), f.Close()); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

// maxFile bounds what Load reads, in octets of JSON.
const maxFile = 1 << 30

// Load reads what Save has written.
func Load(path string) (*Snapshot, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("read state %s: %w; `spklab state save` writes such files", path, err)
	}
	var s Snapshot
	if err := json.NewDecoder(io.LimitReader(z, maxFile)).Decode(&s); err != nil {
		return nil, fmt.Errorf("read state %s: %w", path, err)
	}
	if s.Version != Version {
		return nil, fmt.Errorf("read state %s: format version %d; this spklab reads version %d", path, s.Version, Version)
	}
	return &s, nil
}
