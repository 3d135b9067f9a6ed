package topo

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"

	"github.com/invopop/jsonschema"
)

// schemaID names the schema of lab files.
const schemaID = "https://github.com/spklab/spklab/topo/lab.schema.json"

// Schema is the JSON schema of lab files, for editors.
func Schema() ([]byte, error) {
	r := jsonschema.Reflector{
		ExpandedStruct: true, Anonymous: true, FieldNameTag: "yaml",
		Mapper: func(t reflect.Type) *jsonschema.Schema {
			switch t {
			case reflect.TypeFor[netip.Addr]():
				return &jsonschema.Schema{Type: "string", Description: "an IPv4 or IPv6 address", Examples: []any{"10.144.100.11"}}
			case reflect.TypeFor[netip.Prefix]():
				return &jsonschema.Schema{Type: "string", Pattern: "/[0-9]{1,3}$", Description: "a network", Examples: []any{"10.144.100.0/24"}}
			}
			return nil
		},
	}
	s := r.Reflect(&Lab{})
	s.ID, s.Title = schemaID, "spklab lab file"
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode schema: %w", err)
	}
	return out, nil
}
