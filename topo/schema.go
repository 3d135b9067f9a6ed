package topo

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/netip"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"
)

// schemaID names the schema of lab files.
const schemaID = "https://github.com/spklab/spklab/topo/lab.schema.json"

// The schema describes fields by the comments that they have in the source.
//
//go:embed lab.go
var labSource string

//go:embed hardware.go
var hardwareSource string

// Schema is the JSON schema of lab files, for editors.
func Schema() ([]byte, error) {
	return schema(&Lab{}, []string{labSource, hardwareSource}, schemaID, "spklab lab file", narrow)
}

// hardwareSchemaID names the schema of inventory files.
const hardwareSchemaID = "https://github.com/spklab/spklab/topo/hardware.schema.json"

// HardwareSchema is the JSON schema of inventory files, for editors.
func HardwareSchema() ([]byte, error) {
	return schema(&Hardware{}, []string{hardwareSource}, hardwareSchemaID, "spklab inventory file", func(s *jsonschema.Schema) {
		version, _ := s.Properties.Get(hardwareFormat.version)
		version.Const = FormatVersion
		pf, _ := s.Definitions["Card"].Properties.Get("pf")
		pf.Pattern = pfPattern.String()
	})
}

// schema describes the files that become a value like of, whose types and comments stand in sources.
func schema(of any, sources []string, id, title string, narrow func(*jsonschema.Schema)) ([]byte, error) {
	comments := map[string]string{}
	for _, source := range sources {
		more, err := FieldComments(source)
		if err != nil {
			return nil, fmt.Errorf("read the comments of the source: %w", err)
		}
		maps.Copy(comments, more)
	}
	r := jsonschema.Reflector{
		ExpandedStruct: true, Anonymous: true, FieldNameTag: "yaml", Mapper: schemaOf,
		LookupComment: func(t reflect.Type, field string) string { return comments[t.Name()+"."+field] },
	}
	s := r.Reflect(of)
	s.ID, s.Title = jsonschema.ID(id), title
	narrow(s)
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode schema: %w", err)
	}
	return out, nil
}

// schemaOf is the schema of the types that a lab file writes as texts.
func schemaOf(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[netip.Addr]():
		return &jsonschema.Schema{
			Type: "string", Description: "an IPv4 or IPv6 address", Examples: []any{"10.144.100.11", "fd00:10:144:100::11"},
			AnyOf: []*jsonschema.Schema{{Format: "ipv4"}, {Format: "ipv6"}},
		}
	case reflect.TypeFor[netip.Prefix]():
		return &jsonschema.Schema{
			Type: "string", Pattern: "^[0-9A-Fa-f.:]+/[0-9]{1,3}$",
			Description: "a network, host bits zero", Examples: []any{"10.144.100.0/24", "fd00:10:144:100::/64"},
		}
	}
	return nil
}

// narrow says of single fields what validate asks of them, as far as a schema can.
func narrow(s *jsonschema.Schema) {
	property := func(of *jsonschema.Schema, name string) *jsonschema.Schema {
		p, _ := of.Properties.Get(name)
		return p
	}
	property(s, "spklab").Const = FormatVersion
	property(s, "name").Pattern = "^[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?$"
	fabric := s.Definitions["Fabric"]
	property(fabric, "driver").Enum = enum(drivers())
	property(fabric, "backend").Enum = enum(Backends())
	property(fabric, "release").Enum = enum(Releases())
	property(fabric, "profile").Enum = enum(Profiles())
	property(fabric, "udpHash").Enum = enum(udpHashes())
	property(fabric, "gatewayMode").Enum = enum(gatewayModes())
	revalidator := property(fabric, "maxRevalidator")
	revalidator.Minimum, revalidator.Maximum = json.Number(fmt.Sprint(leastRevalidator)), json.Number(fmt.Sprint(mostRevalidator))
	property(s.Definitions["Router"], "kind").Enum = enum(RouterKinds())
	for _, of := range []string{"Router", "PeerRange"} {
		asn := property(s.Definitions[of], "asn")
		asn.Minimum, asn.Maximum = "1", "4294967294"
	}
	hold := property(s.Definitions["PeerRange"], "holdTime")
	hold.Minimum, hold.Maximum = "0", "65535"
	interval, multiplier := property(s.Definitions["PeerRange"], "bfdInterval"), property(s.Definitions["PeerRange"], "bfdMultiplier")
	interval.Minimum, interval.Maximum = "50", "60000"
	multiplier.Minimum, multiplier.Maximum = "2", "255"
	for _, of := range []string{"Worker", "Router", "Client"} {
		property(s.Definitions[of], "name").Pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
	}
	for _, of := range []string{"Network", "NIC"} {
		property(s.Definitions[of], "name").Pattern = fmt.Sprintf("^[A-Za-z0-9_][A-Za-z0-9_-]{0,%d}$", maxLinkName-1)
	}
}

func enum(from []string) []any {
	out := make([]any, len(from))
	for i, w := range from {
		out[i] = w
	}
	return out
}

// FieldComments are the comments of a source file's struct types, by "Type.", and of their
// fields, by "Type.Field".
func FieldComments(source string) (map[string]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "source.go", source, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	comments := map[string]string{}
	for _, d := range file.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.TYPE {
			continue
		}
		for _, spec := range decl.Specs {
			t := spec.(*ast.TypeSpec)
			comments[t.Name.Name+"."] = oneLine(decl.Doc)
			if fields, ok := t.Type.(*ast.StructType); ok {
				addFields(comments, t.Name.Name, fields)
			}
		}
	}
	return comments, nil
}

func addFields(comments map[string]string, of string, s *ast.StructType) {
	for _, f := range s.Fields.List {
		text := strings.TrimSpace(oneLine(f.Doc) + " " + oneLine(f.Comment))
		for _, name := range f.Names {
			comments[of+"."+name.Name] = text
		}
	}
}

// oneLine is a comment without its line breaks.
func oneLine(c *ast.CommentGroup) string { return strings.Join(strings.Fields(c.Text()), " ") }
