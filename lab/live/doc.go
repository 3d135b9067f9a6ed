// Package live is a web page of a running lab: its picture with the state of the moment, BGP
// sessions, virtual servers and members, counters and their rates, flows, events. It shows and
// changes nothing, and is there for whoever started it alone: on loopback, behind a token.
package live
