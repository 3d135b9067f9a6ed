// Package regress holds a run of the scenarios against an earlier one, its baseline: what fails now
// and did not, which flows go another way, of which entries of the tables there are more or fewer,
// and which times have become longer. It looks at runs as package report has them and at nothing of
// a lab. There are no golden limits: a time is compared with the same time on the same platform.
package regress
