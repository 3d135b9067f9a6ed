// Package report is what remains of a run of scenarios: run.json for programs, junit.xml for
// CI systems, report.html (one file, nothing loaded from elsewhere, light and dark) and
// summary.md for people.
package report
