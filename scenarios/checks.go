package scenarios

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"
	"github.com/onsi/gomega/matchers"
	gomegatypes "github.com/onsi/gomega/types"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/scenarios/report"
)

// witness stands before Gomega, so that every gomega.Expect of a scenario is written down, whether it
// holds or not.
type witness struct {
	gomega.Gomega
	rec *recorder
}

// Inner is what Gomega asks a wrapper of its default for.
func (w witness) Inner() gomega.Gomega { return w.Gomega }

// Expect is gomega.Expect. Further values, of a function that returns several, have to be zero.
func (w witness) Expect(actual any, extra ...any) gomega.Assertion {
	return w.ExpectWithOffset(0, actual, extra...)
}

// ExpectWithOffset is gomega.ExpectWithOffset; helpers are known by ginkgo.GinkgoHelper.
func (w witness) ExpectWithOffset(_ int, actual any, extra ...any) gomega.Assertion {
	return assertion{rec: w.rec, actual: actual, extra: extra}
}

// assertion is a value that something is expected of.
type assertion struct {
	rec    *recorder
	actual any
	extra  []any
}

// WithOffset changes nothing: helpers are known by ginkgo.GinkgoHelper.
func (a assertion) WithOffset(int) gomegatypes.Assertion { return a }

// Error changes nothing: there is one value.
func (a assertion) Error() gomegatypes.Assertion { return a }

// Should asks the matcher to match.
func (a assertion) Should(m gomegatypes.GomegaMatcher, description ...any) bool {
	ginkgo.GinkgoHelper()
	return a.decide(m, true, description)
}

// To is Should.
func (a assertion) To(m gomegatypes.GomegaMatcher, description ...any) bool {
	ginkgo.GinkgoHelper()
	return a.decide(m, true, description)
}

// ShouldNot asks the matcher not to match.
func (a assertion) ShouldNot(m gomegatypes.GomegaMatcher, description ...any) bool {
	ginkgo.GinkgoHelper()
	return a.decide(m, false, description)
}

// ToNot is ShouldNot.
func (a assertion) ToNot(m gomegatypes.GomegaMatcher, description ...any) bool {
	ginkgo.GinkgoHelper()
	return a.decide(m, false, description)
}

// NotTo is ShouldNot.
func (a assertion) NotTo(m gomegatypes.GomegaMatcher, description ...any) bool {
	ginkgo.GinkgoHelper()
	return a.decide(m, false, description)
}

func (a assertion) decide(m gomegatypes.GomegaMatcher, want bool, description []any) bool {
	ginkgo.GinkgoHelper()
	ok, err := m.Match(a.actual)
	for _, x := range a.extra {
		if x != nil && !reflect.ValueOf(x).IsZero() {
			err = fmt.Errorf("with it came %v", x)
		}
	}
	c := report.Check{Name: describe(description), Passed: err == nil && ok == want, At: ctl.Now(), Location: spot(types.NewCodeLocation(0))}
	switch {
	case err != nil:
		c.Expected, c.Got = "a value that can be judged", err.Error()
		a.rec.refuse(c, err.Error())
	case !c.Passed:
		text := message(m, a.actual, want)
		c.Expected, c.Got = parseFailure(text)
		if e, isErr := a.actual.(error); isErr {
			c.Got = e.Error()
		}
		if equal, ok := m.(*matchers.EqualMatcher); ok && want && isStringer(a.actual) {
			c.Expected, c.Got = fmt.Sprint("to equal ", equal.Expected), fmt.Sprint(a.actual)
		}
		a.rec.refuse(c, text)
	case !trivial(m):
		if equal, ok := m.(*matchers.EqualMatcher); ok && want && isStringer(a.actual) {
			c.Expected, c.Got = fmt.Sprint("to equal ", equal.Expected), fmt.Sprint(a.actual)
		} else if short(a.actual) {
			c.Expected, c.Got = parseFailure(message(m, a.actual, want))
		}
		a.rec.checked(c)
	}
	return c.Passed
}

// trivial says that a check which holds tells nobody anything: no error where none was expected.
func trivial(m gomegatypes.GomegaMatcher) bool {
	_, ok := m.(*matchers.HaveOccurredMatcher)
	return ok
}

func isStringer(v any) bool {
	_, ok := v.(fmt.Stringer)
	return ok
}

// short says whether a value can be shown beside each check that holds.
func short(v any) bool {
	switch reflect.ValueOf(v).Kind() {
	case reflect.Slice, reflect.Array, reflect.Map, reflect.Struct, reflect.Pointer, reflect.Invalid, reflect.Func, reflect.Chan, reflect.Interface:
		return false
	default:
		return true
	}
}

// describe is the description of an assertion, as Gomega makes it.
func describe(description []any) string {
	if len(description) == 0 {
		return ""
	}
	if f, ok := description[0].(func() string); ok {
		return f()
	}
	format, _ := description[0].(string)
	return fmt.Sprintf(format, description[1:]...)
}

// message is the matcher's own text about what it did not find, or found.
func message(m gomegatypes.GomegaMatcher, actual any, want bool) string {
	if want {
		return m.FailureMessage(actual)
	}
	return m.NegatedFailureMessage(actual)
}

// refusal is a matcher that never matches: for what has a text of its own.
type refusal struct{}

// Match implements the matcher.
func (refusal) Match(any) (bool, error) { return false, nil }

// FailureMessage is the text.
func (refusal) FailureMessage(actual any) string { return fmt.Sprint(actual) }

// NegatedFailureMessage is the text.
func (refusal) NegatedFailureMessage(actual any) string { return fmt.Sprint(actual) }

// refuse fails the scenario with a text of its own.
func refuse(text string) {
	ginkgo.GinkgoHelper()
	gomega.Expect(text).To(refusal{})
}

// typed is how Gomega marks the type of a value: "<int>: ", "<[]string | len:2, cap:2>: ".
var typed = regexp.MustCompile(`(?m)^(\s*)<[^>\n]*>:\s?`)

// parseFailure takes a matcher's text apart, which is "Expected\n    GOT\nto VERB\n    WANTED". A text
// of another form is what was got.
func parseFailure(text string) (expected, got string) {
	rest, ok := strings.CutPrefix(text, "Expected\n")
	if !ok {
		if inner, cut := strings.CutPrefix(text, "Unexpected error:\n"); cut {
			return "no error", value(strings.TrimSuffix(inner, "\noccurred"))
		}
		return "", value(text)
	}
	lines := strings.Split(rest, "\n")
	verb := slices.IndexFunc(lines, func(l string) bool { return l != "" && !strings.HasPrefix(l, "    ") })
	if verb < 0 {
		return "", value(rest)
	}
	for _, line := range lines[verb:] {
		expected += " " + value(line)
	}
	return strings.TrimSpace(expected), value(strings.Join(lines[:verb], "\n"))
}

// maxValue bounds what is shown of a value.
const maxValue = 2000

// value is a value as Gomega shows it, without its type and its indentation.
func value(s string) string {
	lines := strings.Split(typed.ReplaceAllString(s, "$1"), "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "    ")
	}
	s = strings.TrimSpace(strings.Join(lines, "\n"))
	if len(s) > maxValue {
		s = s[:maxValue] + " …"
	}
	return s
}
