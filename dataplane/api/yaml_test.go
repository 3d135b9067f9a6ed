package api

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	sigsyaml "sigs.k8s.io/yaml"
)

// TestReadsYAMLAsKubernetesDoes holds our reading of YAML against kubectl's: the ways of
// writing that users' manifests hold.
func TestReadsYAMLAsKubernetesDoes(t *testing.T) {
	docs := map[string]string{
		"folded quotes":       "a: 'x\n  y\n\n  z'\nb: \"x\\\n  y\\tz\"\n",
		"single quote":        "a: 'it''s'\n",
		"literal":             "a: |\n  one\n    two\n\n  three\nb: 1\n",
		"literal keep":        "a: |+\n  one\n\nb: |-\n  two\n",
		"folded":              "a: >\n  one\n  two\n\n  three\n",
		"literal indent":      "a:\n  b: |2\n     deep\n    less\n",
		"JSON in a literal":   "a: |\n  [{\"name\": \"x\", \"ips\": [\"10.0.0.1\"]},\n   {\"name\": \"y\"}]\n",
		"JSON":                `{"a": [1, 2.5, -3, true, null, "x"], "b": {"c": {}}}`,
		"lists":               "a:\n- 1\n- - 2\n  - 3\n-\n  b: 4\n- c: 5\n  d: 6\n",
		"indented lists":      "a:\n    - b: 1\n      c:\n        - 2\n",
		"comments":            "# top\na: 1 # one\n# between\nb:\n  # inside\n  c: 2\n# end\n",
		"comment after list":  "a:\n- 1\n# c\n- 2\nb: '#no'\n",
		"anchors":             "a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3\ne: *x\n",
		"numbers":             "a: 1\nb: 1.5\nc: 0x10\nd: \"1\"\ne: -7\n",
		"strings like others": "a: \"true\"\nb: 'null'\nc: 1.2.3\nd: 10:20\ne: v1\nf: 2001:db8::1\ng: \"::\"\nh: fd01:0:0:1::/64\n",
		"nulls":               "a: null\nb: ~\nc:\nd: ''\n",
		"flow over lines":     "a: [1,\n  2,\n  {b: c,\n   d: e}]\n",
		"flow with addresses": "a: [fd00::1, 2001:db8::2, \"::\"]\nb: {c: fd00::1, d: 10.0.0.1}\n",
		"colon and hash":      "a: http://x:80/#y\nb: \"a: b\"\nc: a#b\n",
		"plain over lines":    "a: one\n  two\n  three\nb: 1\n",
		"CRLF":                "a: 1\r\nb:\r\n- x\r\n- z\r\n",
		"tagged string":       "a: !!str 12\n",
		"quoted keys":         "\"a b\": 1\n'c': 2\nk8s.io/x: 3\n",
		"empty collections":   "a: []\nb: {}\n",
		"unicode":             "a: \"\\u00e9\"\nb: é\n",
		"deep":                "a:\n  b:\n    c:\n    - d:\n        e: 1\n      f: 2\n    g: 3\n",
	}
	for _, name := range []string{"nads.yaml", "crs.yaml"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		// YAML 1.1's no is a boolean to us where one belongs: that needs a type.
		data = bytes.Replace(data, []byte("bonded: no"), []byte("bonded: false"), 1)
		for _, d := range documents(data) {
			docs[name+" "+firstLine(string(d.text[3:]))] = string(d.text)
		}
	}
	for name, text := range docs {
		t.Run(name, func(t *testing.T) {
			n, err := parseNode([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			want, err := sigsyaml.YAMLToJSON([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			f := fitter{doc: &Object{}, budget: maxNodes}
			got, err := json.Marshal(f.generic(n))
			if err != nil {
				t.Fatal(err)
			}
			var a, b any
			if err := json.Unmarshal(want, &a); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(got, &b); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(a, b); diff != "" {
				t.Errorf("(-kubectl +we)\n%s", diff)
			}
		})
	}
}
