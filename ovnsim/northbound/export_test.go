package northbound

import "context"

// AwaitLate opens the database at endpoint, calls stop, which ends the database, and begins to
// wait for the loss of the connection only when libovsdb has told of it. It returns the channel
// that is to be closed.
func AwaitLate(ctx context.Context, endpoint string, stop func()) (lost <-chan struct{}, err error) {
	c, err := dial(ctx, endpoint, TLS{})
	if err != nil {
		return nil, err
	}
	stop()
	<-c.lost
	late := &Client{ovs: c.ovs, lost: make(chan struct{}), closed: make(chan struct{})}
	go late.await()
	return late.lost, nil
}
