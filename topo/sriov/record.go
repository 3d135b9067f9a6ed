package sriov

import "github.com/spklab/spklab/topo/record"

// Record is a PF that is changed: by whom, to what, and what it was before.
type Record struct {
	Owner  string `json:"owner"`
	Target Target `json:"target"`
	Prior  PF     `json:"prior"`
	Lent   bool   `json:"lent,omitempty"` // its interface is in another network namespace
}

func (h Host) records() record.Dir[Record] { return record.Dir[Record]{Path: h.Dir, What: "PF"} }

// Record is what stands of a PF, nil when it is not changed.
func (h Host) Record(address string) (*Record, error) { return h.records().Get(address) }

// Records are the PFs that somebody has changed and not put back, by address.
func (h Host) Records() ([]Record, error) { return h.records().All() }

// write puts a record in its place in one piece.
func (h Host) write(r Record) error { return h.records().Put(r.Target.Address, r) }

func (h Host) forget(address string) error { return h.records().Forget(address) }
