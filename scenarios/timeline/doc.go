// Package timeline puts what happens in a lab on one clock, CLOCK_MONOTONIC: events of its processes,
// changes of links, routes and neighbours in every network namespace, manifests that come and go;
// and says whether things happened in the order in which they must.
package timeline
