package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// node is what this test reads of a schema.
type node struct {
	Ref         string           `json:"$ref"`
	Type        string           `json:"type"`
	Description string           `json:"description"`
	Enum        []string         `json:"enum"`
	Properties  map[string]*node `json:"properties"`
	Required    []string         `json:"required"`
	Items       *node            `json:"items"`
	Defs        map[string]*node `json:"$defs"`
}

// TestSchemaFits holds the sample run against the schema: every field that is written is known, every
// field that is required is written, words are of their lists.
func TestSchemaFits(t *testing.T) {
	raw, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var schema node
	if err := json.Unmarshal(raw, &schema); err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := sample().WriteJSON(&file); err != nil {
		t.Fatal(err)
	}
	var run any
	if err := json.Unmarshal(file.Bytes(), &run); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range schema.against(run, &schema, "run") {
		t.Error(wrong)
	}
	if got := schema.Properties["clock_ns"].Description; !strings.Contains(got, "CLOCK_MONOTONIC") {
		t.Errorf("clock_ns is described as %q", got)
	}
	run.(map[string]any)["scenarios"].([]any)[0].(map[string]any)["state"] = "good"
	if len(schema.against(run, &schema, "run")) == 0 {
		t.Error("the state \"good\" fits the schema")
	}
}

// against is what of a value does not fit.
func (n *node) against(v any, root *node, at string) []string {
	if name, ok := strings.CutPrefix(n.Ref, "#/$defs/"); ok {
		return root.Defs[name].against(v, root, at)
	}
	var wrong []string
	switch v := v.(type) {
	case map[string]any:
		if n.Properties == nil {
			return nil // a map with keys of its own
		}
		for name, value := range v {
			p := n.Properties[name]
			if p == nil {
				wrong = append(wrong, at+"."+name+" is not in the schema")
				continue
			}
			wrong = append(wrong, p.against(value, root, at+"."+name)...)
		}
		for _, name := range n.Required {
			if _, ok := v[name]; !ok {
				wrong = append(wrong, at+" lacks "+name)
			}
		}
	case []any:
		if n.Type != "array" {
			return []string{at + " is a list"}
		}
		for i, x := range v {
			wrong = append(wrong, n.Items.against(x, root, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case string:
		if n.Type != "string" || n.Enum != nil && !slices.Contains(n.Enum, v) {
			wrong = append(wrong, fmt.Sprintf("%s is %q", at, v))
		}
	}
	return wrong
}
