package scenarios

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/onsi/gomega"
	gomegatypes "github.com/onsi/gomega/types"
)

// TestParseFailure holds what reports show against the texts that Gomega writes.
func TestParseFailure(t *testing.T) {
	type pair struct{ Expected, Got string }
	for _, tc := range []struct {
		name    string
		actual  any
		matcher gomegatypes.GomegaMatcher
		want    bool
		pair
	}{
		{"number", 2, gomega.Equal(3), true, pair{"to equal 3", "2"}},
		{"order", 5, gomega.BeNumerically("<", 3), true, pair{"to be < 3", "5"}},
		{"negated", 5, gomega.Equal(5), false, pair{"not to equal 5", "5"}},
		{"truth", false, gomega.BeTrue(), true, pair{"to be true", "false"}},
		{"list", []string{"a", "b"}, gomega.BeEmpty(), true, pair{"to be empty", `["a", "b"]`}},
		{"text of lines", "one\ntwo", gomega.ContainSubstring("three"), true, pair{"to contain substring three", "one\ntwo"}},
		{"consist", []string{"a"}, gomega.ConsistOf("a", "b"), true, pair{`to consist of ["a", "b"] the missing elements were ["b"]`, `["a"]`}},
		{"own text", "it went another way\nby t2", refusal{}, true, pair{"", "it went another way\nby t2"}},
		{"nothing", nil, gomega.Equal("x"), true, pair{"to equal x", "nil"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if ok, err := tc.matcher.Match(tc.actual); err != nil || ok == tc.want {
				t.Fatalf("the matcher says %v, %v", ok, err)
			}
			text := message(tc.matcher, tc.actual, tc.want)
			expected, got := parseFailure(text)
			if diff := cmp.Diff(tc.pair, pair{expected, got}); diff != "" {
				t.Errorf("parseFailure(%q) (-want +got):\n%s", text, diff)
			}
		})
	}
}

func TestParseFailureOfAnError(t *testing.T) {
	m := gomega.HaveOccurred()
	err := fmt.Errorf("dial: %w", errors.New("refused"))
	if ok, merr := m.Match(err); !ok || merr != nil {
		t.Fatal(ok, merr)
	}
	expected, got := parseFailure(m.NegatedFailureMessage(err))
	if expected != "no error" || !strings.HasPrefix(got, "dial: refused") {
		t.Errorf("expected %q, got %q", expected, got)
	}
}

func FuzzParseFailure(f *testing.F) {
	f.Add("Expected\n    <int>: 2\nto equal\n    <int>: 3")
	f.Add("Unexpected error:\n    <*errors.errorString>: \n    x\noccurred")
	f.Fuzz(func(t *testing.T, in string) {
		expected, got := parseFailure(in)
		if len(got) > maxValue+10 || len(expected) > len(in)+maxValue {
			t.Errorf("%d and %d octets of %d", len(expected), len(got), len(in))
		}
	})
}
