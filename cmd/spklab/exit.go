package main

import "errors"

// The exit codes of the command line.
const (
	codePass       = 0
	codeFail       = 1   // a check failed
	codeNothing    = 2   // nothing selected
	codeWarn       = 3   // passed with warnings or flakes
	codeRegression = 4   // regression against the baseline
	codeInput      = 5   // bad input
	codeCapability = 6   // a capability is missing
	codeLifecycle  = 7   // a lifecycle step failed
	codeInterrupt  = 130 // interrupted
)

// exitError carries the exit code that an error asks for. An empty message prints nothing: the
// command has said it already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// exitWith gives err an exit code; a nil err stays silent but still exits with code.
func exitWith(code int, err error) error { return &exitError{code: code, err: err} }

// exitCode is the process's exit code for what a command returned. Words that cobra itself
// refuses (an unknown command, too many arguments) are bad input.
func exitCode(err error, interrupted bool) int {
	var coded *exitError
	switch {
	case err == nil:
		return codePass
	case interrupted:
		return codeInterrupt
	case errors.As(err, &coded):
		return coded.code
	}
	return codeInput
}
