package lab

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/control"
)

// queryTimeout bounds what a TMM reads its maps for.
const queryTimeout = 15 * time.Second

// TMMConns are the connections of one TMM that were asked for.
type TMMConns struct {
	TMM string `json:"tmm"`
	dataplane.ConnPage
	Error string `json:"error,omitempty"` // why there is no answer
}

// TMMMaps are the eBPF maps of one TMM.
type TMMMaps struct {
	TMM   string               `json:"tmm"`
	Maps  []dataplane.MapStats `json:"maps"`
	Error string               `json:"error,omitempty"` // why there is no answer
}

// Connections asks every TMM for the connections that the query chooses; its limit counts for
// each TMM.
func (l *Lab) Connections(ctx context.Context, q control.ConnQuery) ([]TMMConns, error) {
	return eachTMM(ctx, l, func(ctx context.Context, name string) TMMConns {
		out := TMMConns{TMM: name}
		if err := ctl.Get(ctx, l.Socket(name), q.Path(), &out.ConnPage); err != nil {
			out.Error = err.Error()
		}
		return out
	})
}

// Maps asks every TMM for its maps.
func (l *Lab) Maps(ctx context.Context) ([]TMMMaps, error) {
	return eachTMM(ctx, l, func(ctx context.Context, name string) TMMMaps {
		out := TMMMaps{TMM: name}
		if err := ctl.Get(ctx, l.Socket(name), control.PathMaps, &out.Maps); err != nil {
			out.Error = err.Error()
		}
		return out
	})
}

// eachTMM asks all TMMs at once; the answers are in the order of the nodes.
func eachTMM[T any](ctx context.Context, l *Lab, ask func(context.Context, string) T) ([]T, error) {
	nodes, err := l.Nodes()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var names []string
	for _, n := range nodes {
		if n.Kind == KindTMM {
			names = append(names, n.Name)
		}
	}
	out := make([]T, len(names))
	var g errgroup.Group
	for i, name := range names {
		g.Go(func() error {
			out[i] = ask(ctx, name)
			return nil
		})
	}
	return out, g.Wait()
}
