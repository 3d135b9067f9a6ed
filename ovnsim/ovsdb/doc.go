// Package ovsdb serves the OVN_Northbound database to real OVN clients such as ovn-nbctl: the
// OVSDB protocol of RFC 7047 with the extensions of ovsdb-server(7) that those clients use
// (monitor_cond, monitor_cond_since, the _Server database), over a database in memory that a
// file may keep, in the log format of ovsdb(5).
//
// It is a sim in one respect: where no ovn-northd and no ovn-controller read the database, the
// server itself copies nb_cfg to sb_cfg and hv_cfg and `ovn-nbctl --wait` returns.
//
// Values, operations and transactions are checked against the schema here, with the errors
// that ovsdb-server gives; what a client sends never reaches a row unchecked.
package ovsdb
