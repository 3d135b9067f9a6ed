package ovsdb

import (
	"errors"
	"fmt"
	"math"
)

var errTrailing = errors.New("trailing data after JSON value")

// opError is an RFC 7047 <error>.
type opError struct {
	Name    string `json:"error"`
	Details string `json:"details,omitempty"`
	Syntax  string `json:"syntax,omitempty"`
	bare    string // instead of the object
}

// Error lets an opError stand where an error is asked for.
func (e *opError) Error() string { return e.Name + ": " + e.Details }

// bare is an error that is a string: those of JSON-RPC itself and two of ovsdb-server's.
func bare(text string) *opError { return &opError{bare: text} }

func failure(name, format string, args ...any) *opError {
	return &opError{Name: name, Details: fmt.Sprintf(format, args...)}
}

func constraint(format string, args ...any) *opError {
	return failure("constraint violation", format, args...)
}

// maxSyntax bounds how much of the offending text an error repeats.
const maxSyntax = 4096

func syntaxOf(j any) string {
	text := appendJSON(nil, j)
	if len(text) > maxSyntax {
		return ""
	}
	return string(text)
}

func syntaxError(j any, format string, args ...any) *opError {
	e := failure("syntax error", format, args...)
	e.Syntax = syntaxOf(j)
	return e
}

func sizeError(j any, class string, t columnType, n int) *opError {
	if t.min == 1 && t.max == 1 {
		return syntaxError(j, "%s must have exactly one member but %d are present", class, n)
	}
	return syntaxError(j, "%s must have %d to %d members but %d are present", class, t.min, min(t.max, math.MaxUint32), n) // unlimited reads 4294967295
}

func unknownColumn(j any, col, table string) *opError {
	return &opError{Name: "unknown column", Details: fmt.Sprintf("No column %s in table %s.", col, table), Syntax: syntaxOf(j)}
}

func unknownDatabase(method, name string, j any) *opError {
	return &opError{Name: "unknown database", Details: method + " request specifies unknown database " + name, Syntax: syntaxOf(j)}
}
