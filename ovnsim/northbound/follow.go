package northbound

import (
	"context"
	"errors"
	"time"
)

// Waiting times between attempts to connect: the database of a lab is near.
const (
	firstRetry = 20 * time.Millisecond
	lastRetry  = 500 * time.Millisecond
)

// settle is how long after a change the database is read: the rows of one transaction are told of
// one by one, and reading at the first would be reading twice.
const settle = time.Millisecond

// errLost ends the use of one connection.
var errLost = errors.New("the connection to the northbound database is lost")

// Follower is somebody who acts on the content of a database.
type Follower struct {
	Endpoint string // unix:PATH, tcp:HOST:PORT or ssl:HOST:PORT
	TLS      TLS    // for ssl
	// Sync is called once after each connect, after changes, and when Poke delivers; calls
	// never overlap. An error drops the connection, and Sync is called again on the next one.
	Sync func(context.Context, *Client) error
	// Poke asks for a Sync; nil never does.
	Poke <-chan struct{}
	// Down hears why there is no connection, Up that there is one again; both may be nil.
	Down func(error)
	Up   func()
}

// Follow stays connected to the database and keeps calling Sync until ctx ends.
func (f Follower) Follow(ctx context.Context) {
	wait := firstRetry
	for ctx.Err() == nil {
		c, err := connect(ctx, f.Endpoint, f.TLS)
		if err == nil {
			if f.Up != nil {
				f.Up()
			}
			if err = f.serve(ctx, c, func() { wait = firstRetry }); ctx.Err() != nil {
				c.close()
				return
			}
			c.close()
		}
		if f.Down != nil && ctx.Err() == nil {
			f.Down(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
			wait = min(2*wait, lastRetry)
		}
	}
}

// serve uses one connection; synced is called after each Sync that went well.
func (f Follower) serve(ctx context.Context, c *Client, synced func()) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.Lost():
			return errLost
		case <-c.Changed():
			time.Sleep(settle)
			select {
			case <-c.Changed():
			default:
			}
		case <-f.Poke:
		}
		if err := f.Sync(ctx, c); err != nil {
			return err
		}
		synced()
	}
}
