// Package record is what outlives a test: scenarios write down what they do, check and see as records,
// a collector in a process of its own adds what its sources tell about the lab, and an [Assembly]
// makes a report.Run of the records, however the test ended.
//
// The stream is JSON lines, one [Record] each, and stands in records.jsonl beside the reports.
package record
