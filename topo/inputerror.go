package topo

import "fmt"

// InputError is a user's mistake in a lab file. Several are joined with errors.Join.
type InputError struct {
	File         string
	Line, Column int    // from 1; 0 where the place is not known
	Path         string // the field, e.g. workers[0].nics[1].network; may be empty
	Text         string // what stands there
	Message      string // what is wrong; what would be right
}

// Error is `file:line:col: "text": message`; without a position the field stands in its place.
func (e *InputError) Error() string {
	where := e.File
	switch {
	case e.Line > 0:
		where = fmt.Sprintf("%s:%d:%d", e.File, e.Line, e.Column)
	case e.Path != "" && e.File != "":
		where = e.File + ": " + e.Path
	case e.Path != "":
		where = e.Path
	}
	if e.Text == "" {
		return where + ": " + e.Message
	}
	return fmt.Sprintf("%s: %q: %s", where, e.Text, e.Message)
}
