package api

// Severities of findings and conditions.
const (
	SeverityError   = "error"
	SeverityWarning = "warning"
)

// Finding is something that does not fit between objects.
type Finding struct {
	Severity string `json:"severity"` // SeverityError | SeverityWarning
	Object   string `json:"object"`   // Kind namespace/name
	Message  string `json:"message"`
	Hint     string `json:"hint,omitempty"` // what would be right
}

// Check looks at the objects together. The order of findings is stable.
func Check(r Resources) []Finding { return nil }
