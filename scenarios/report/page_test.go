package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// page is a run's report.html.
func page(tb testing.TB, r Run) string {
	tb.Helper()
	var b bytes.Buffer
	if err := r.WriteHTML(&b); err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

func TestPageIsSelfContained(t *testing.T) {
	for _, r := range []Run{sample(), passing(t), failing(t)} {
		text := page(t, r)
		for _, bad := range []string{"http://", "https://", "src=", "@import", "url(", "ZgotmplZ", "<link", "<iframe", "<img"} {
			if strings.Contains(text, bad) {
				t.Errorf("the page contains %q", bad)
			}
		}
	}
}

// TestPolicy asks that the page's one script is the one that its policy allows.
func TestPolicy(t *testing.T) {
	text := page(t, failing(t))
	scripts := regexp.MustCompile(`(?s)<script>(.*?)</script>`).FindAllStringSubmatch(text, -1)
	if len(scripts) != 1 || strings.Count(text, "<script") != 1 {
		t.Fatalf("the page has %d scripts, %d elements, want 1", len(scripts), strings.Count(text, "<script"))
	}
	sum := sha256.Sum256([]byte(scripts[0][1]))
	want := "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	policy := regexp.MustCompile(`http-equiv="Content-Security-Policy" content="([^"]*)"`).FindStringSubmatch(text)
	if policy == nil || html.UnescapeString(policy[1]) != want {
		t.Errorf("policy %q, want %q", policy, want)
	}
	if at := strings.Index(text, "Content-Security-Policy"); at > strings.Index(text, "<style") {
		t.Error("the policy comes after the style")
	}
}

// evil leaves an attribute and an element, if it is let.
const evil = `"'></title></script></style><x-evil>`

// corrupt puts evil before every text below v.
func corrupt(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(evil + v.String())
	case reflect.Pointer:
		if !v.IsNil() {
			corrupt(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			corrupt(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				corrupt(v.Field(i))
			}
		}
	default:
	}
}

func TestPageEscapesEverything(t *testing.T) {
	r := failing(t)
	r.Platform.Packages[evil] = evil
	states := make([]State, len(r.Scenarios))
	for i, s := range r.Scenarios {
		states[i] = s.State
	}
	corrupt(reflect.ValueOf(&r).Elem())
	for i := range r.Scenarios {
		r.Scenarios[i].State = states[i] // so that the blocks of failures are there
	}
	text := page(t, r)
	if strings.Contains(text, "<x-evil") {
		i := strings.Index(text, "<x-evil")
		t.Errorf("markup of the run in the page: %q", text[max(0, i-200):i+10])
	}
	for _, element := range []string{"</head>", "</style>", "</script>"} {
		if n := strings.Count(text, element); n != 1 {
			t.Errorf("%d %s, want 1", n, element)
		}
	}
	if n := strings.Count(text, "&lt;x-evil&gt;"); n < 500 {
		t.Errorf("%d texts of the run in the page, want 500", n)
	}
}

// TestPageIsBounded holds the page of the largest run to a size that a browser opens at once.
func TestPageIsBounded(t *testing.T) {
	for _, tc := range []struct {
		name string
		run  Run
		most int // bytes
	}{
		{"passing", passing(t), 100 << 10},
		{"failing", failing(t), 300 << 10},
		{"large", large(t), 6 << 20},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := len(page(t, tc.run))
			t.Logf("%d bytes", n)
			if n > tc.most {
				t.Errorf("%d bytes, want at most %d", n, tc.most)
			}
		})
	}
}

// TestAnchors asks that each link within the page leads somewhere, and no name is there twice.
func TestAnchors(t *testing.T) {
	r := failing(t)
	r.Scenarios = append(r.Scenarios, r.Scenarios[0], r.Scenarios[3])
	text := page(t, r)
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(text, -1) {
		if ids[m[1]] {
			t.Errorf("id %q is there twice", m[1])
		}
		ids[m[1]] = true
	}
	links := regexp.MustCompile(`href="#([^"]*)"`).FindAllStringSubmatch(text, -1)
	for _, m := range links {
		if !ids[m[1]] {
			t.Errorf("#%s leads nowhere", m[1])
		}
	}
	if len(links) < 30 {
		t.Errorf("%d links, want 30", len(links))
	}
}
