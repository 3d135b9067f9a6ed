// Package metrics tells Prometheus what a proxy does: the state document of control in the words
// and units of the Prometheus conventions. Everything is read when it is asked for, and nothing
// whose size is that of the connection tables.
package metrics
