package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
)

// The elements of the JUnit format that CI systems agree on.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Skipped  int          `xml:"skipped,attr"`
		Time     string       `xml:"time,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string           `xml:"name,attr"`
		Tests      int              `xml:"tests,attr"`
		Failures   int              `xml:"failures,attr"`
		Skipped    int              `xml:"skipped,attr"`
		Time       string           `xml:"time,attr"`
		Timestamp  string           `xml:"timestamp,attr"`
		Properties *junitProperties `xml:"properties,omitempty"`
		Cases      []junitCase      `xml:"testcase"`
	}
	junitCase struct {
		Class      string           `xml:"classname,attr"`
		Name       string           `xml:"name,attr"`
		Time       string           `xml:"time,attr"`
		Properties *junitProperties `xml:"properties,omitempty"`
		Failure    *junitDetail     `xml:"failure,omitempty"`
		Skipped    *junitDetail     `xml:"skipped,omitempty"`
		Out        string           `xml:"system-out,omitempty"`
	}
	junitProperties struct {
		List []junitProperty `xml:"property"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitDetail struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes junit.xml: a test suite a group, a test case a scenario.
func (r Run) WriteJUnit(w io.Writer) error {
	c := r.Counts()
	doc := junitSuites{
		Name:  "spklab " + r.Lab,
		Tests: len(r.Scenarios), Failures: c.Failed, Skipped: c.Skipped,
		Time: seconds(r.Duration),
	}
	for _, g := range r.Groups() {
		s := suite(g)
		s.Properties = properties("unenforced", r.Unenforced)
		doc.Suites = append(doc.Suites, s)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return fmt.Errorf("write junit: %w", err)
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return fmt.Errorf("write junit: %w", err)
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		return fmt.Errorf("write junit: %w", err)
	}
	return nil
}

func suite(g Group) junitSuite {
	c := Run{Scenarios: g.Scenarios}.Counts()
	out := junitSuite{
		Name: g.Name, Tests: len(g.Scenarios), Failures: c.Failed, Skipped: c.Skipped,
		Timestamp: g.Scenarios[0].Started.UTC().Format("2006-01-02T15:04:05"),
	}
	var total time.Duration
	for _, s := range g.Scenarios {
		total += s.Duration
		out.Cases = append(out.Cases, testCase(s))
	}
	out.Time = seconds(total)
	return out
}

func testCase(s Scenario) junitCase {
	c := junitCase{Class: s.Group, Name: s.Name, Time: seconds(s.Duration), Properties: properties("label", s.Labels)}
	switch s.State {
	case Failed, Interrupted:
		c.Failure = &junitDetail{Message: printable(s.headline()), Text: printable(s.Location + "\n" + s.Message)}
	case Skipped:
		c.Skipped = &junitDetail{Message: printable(firstLine(s.Message))}
	case Passed, Flaky:
	}
	for _, f := range s.Figures {
		c.Out += printable(f.String()) + "\n"
	}
	for _, path := range s.Artifacts { // as CI systems look for attachments
		c.Out += "[[ATTACHMENT|" + printable(path) + "]]\n"
	}
	return c
}

// properties are one a value, nil for none.
func properties(name string, values []string) *junitProperties {
	if len(values) == 0 {
		return nil
	}
	var p junitProperties
	for _, v := range values {
		p.List = append(p.List, junitProperty{name, printable(v)})
	}
	return &p
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// printable replaces what XML 1.0 cannot hold, such as the escapes of terminal colours.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '·'
	}, s)
}
