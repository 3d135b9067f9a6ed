// Package traffic is both ends of the traffic that the scenarios look at: the application that
// runs in the pods (it tells every client which pod answered and which address it saw), and
// the clients that dial it from inside a network namespace.
//
// The application's protocol: on TCP the server first writes one line, a [Greeting] as JSON,
// and then returns every byte that it gets. On UDP it answers each datagram with the same
// line followed by the datagram.
package traffic
