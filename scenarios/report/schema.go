package report

import (
	"embed"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"

	"github.com/invopop/jsonschema"

	"github.com/spklab/spklab/topo"
)

// schemaID names the schema of run.json.
const schemaID = "https://github.com/spklab/spklab/scenarios/report/run.schema.json"

// The schema describes fields by the comments that they have in the source.
//
//go:embed run.go seen.go regression.go
var source embed.FS

// Schema is the JSON schema of run.json.
func Schema() ([]byte, error) {
	comments := map[string]string{}
	for _, name := range []string{"run.go", "seen.go", "regression.go"} {
		text, err := source.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read the comments of %s: %w", name, err)
		}
		of, err := topo.FieldComments(string(text))
		if err != nil {
			return nil, fmt.Errorf("read the comments of %s: %w", name, err)
		}
		maps.Copy(comments, of)
	}
	r := jsonschema.Reflector{
		ExpandedStruct: true, Anonymous: true, Mapper: enums,
		LookupComment: func(t reflect.Type, field string) string { return comments[t.Name()+"."+field] },
	}
	s := r.Reflect(&Run{})
	s.ID, s.Title = schemaID, "spklab run.json"
	version, _ := s.Properties.Get("version")
	version.Const = Version
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode schema: %w", err)
	}
	return out, nil
}

// enums is the schema of the types that are one of a few words.
func enums(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[State]():
		return oneOf(Passed, Flaky, Failed, Skipped, Interrupted)
	case reflect.TypeFor[Layer]():
		return oneOf(LayerLink, LayerNeighbour, LayerRoute, LayerDataplane, LayerConntrack, LayerOVN, LayerControl, LayerProcess, LayerApp, LayerTest)
	case reflect.TypeFor[Status]():
		return oneOf(StatusNew, StatusKnown, StatusFixed)
	case reflect.TypeFor[Sight]():
		return oneOf(Seen, Rewritten, Dropped, Absent)
	case reflect.TypeFor[Turn]():
		return oneOf(TurnNew, TurnKnown, TurnFixed, TurnFlaky, TurnVanished, TurnAdded)
	}
	return nil
}

func oneOf[T ~string](all ...T) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "string"}
	for _, w := range all {
		s.Enum = append(s.Enum, string(w))
	}
	return s
}
