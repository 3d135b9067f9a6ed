// Package ovsdb serves the OVN_Northbound database to real OVN clients.
package ovsdb
