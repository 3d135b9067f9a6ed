package topo

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxAliases bounds the aliases and merge keys followed to reach one value, so that one which
// leads to itself comes to an end.
const maxAliases = 16

// document is the syntax tree of a lab file.
type document struct {
	file    string
	body    ast.Node
	targets map[*ast.AliasNode]ast.Node // what the aliases stand for
}

// readDocument reads the one document of a file.
func readDocument(file string, data []byte, kind format) (*document, error) {
	var tree *ast.File
	err := guard(file, func() (err error) {
		tokens := lexer.Tokenize(string(data))
		if tk := emptyDocument(tokens); tk != nil {
			return &InputError{File: file, Line: tk.Position.Line, Column: tk.Position.Column, Text: tk.Value, Message: "begins a document after an empty one; remove this line"}
		}
		tree, err = parser.Parse(tokens, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	d := &document{file: file, targets: map[*ast.AliasNode]ast.Node{}}
	for _, doc := range tree.Docs {
		if !holdsValue(doc.Body) {
			continue
		}
		if d.body != nil {
			at := first(doc.Body).Position
			return nil, &InputError{File: file, Line: at.Line, Column: at.Column, Message: fmt.Sprintf("a second document; write one %s a file", kind.noun)}
		}
		d.body = doc.Body
	}
	if d.body == nil {
		return nil, &InputError{File: file, Line: 1, Column: 1, Message: fmt.Sprintf("the file holds nothing; %s file begins with `%s: %d`", article(kind.noun), kind.version, FormatVersion)}
	}
	err = guard(file, func() error {
		ast.Walk(&aliasFinder{targets: d.targets, anchors: map[string]ast.Node{}}, d.body)
		return nil
	})
	return d, err
}

// emptyDocument is the header that follows an empty document, if there is one: the parser would
// pass over all that comes after it.
func emptyDocument(tokens token.Tokens) *token.Token {
	empty := false
	for _, tk := range tokens {
		switch tk.Type {
		case token.DocumentHeaderType:
			if empty {
				return tk
			}
			empty = true
		case token.CommentType, token.DocumentEndType:
		default:
			empty = false
		}
	}
	return nil
}

// holdsValue says whether a document is more than comments and directives.
func holdsValue(body ast.Node) bool {
	switch body.(type) {
	case nil, *ast.NullNode, *ast.CommentNode, *ast.CommentGroupNode, *ast.DirectiveNode:
		return false
	}
	return true
}

// aliasFinder finds what each alias stands for: the last anchor of its name above it.
type aliasFinder struct {
	targets map[*ast.AliasNode]ast.Node
	anchors map[string]ast.Node
}

// Visit implements ast.Visitor.
func (a *aliasFinder) Visit(n ast.Node) ast.Visitor {
	switch n := n.(type) {
	case *ast.AnchorNode:
		a.anchors[n.Name.GetToken().Value] = n.Value
	case *ast.AliasNode:
		a.targets[n] = a.anchors[n.Value.GetToken().Value]
	}
	return a
}

// plain is a node without its anchor or, of an alias, what that stands for; nil when that is
// not to be found.
func (d *document) plain(n ast.Node) ast.Node {
	for range maxAliases {
		switch at := n.(type) {
		case *ast.AnchorNode:
			n = at.Value
		case *ast.AliasNode:
			n = d.targets[at]
		default:
			return n
		}
	}
	return nil
}

// field is a key of a mapping with its value.
type field struct {
	name  string
	key   ast.Node
	value ast.Node // plain, may be nil
}

// fields are those of a mapping: its own, then the merged ones (<<) that it does not override.
// ok is false where n is no mapping.
func (d *document) fields(n ast.Node) (fields []field, ok bool) {
	return d.merge(nil, n, maxAliases)
}

func (d *document) merge(fields []field, n ast.Node, depth int) ([]field, bool) {
	m, ok := d.plain(n).(ast.MapNode)
	if !ok || depth == 0 {
		return fields, false
	}
	seen := map[string]bool{}
	for _, f := range fields {
		seen[f.name] = true
	}
	var merged []ast.Node
	for it := m.MapRange(); it.Next(); {
		name := keyToken(it.Key()).Value
		switch {
		case it.Key().IsMergeKey():
			merged = append(merged, it.Value())
		case !seen[name]:
			seen[name] = true
			fields = append(fields, field{name: name, key: it.Key(), value: d.plain(it.Value())})
		}
	}
	for _, from := range merged {
		sources := []ast.Node{from}
		if list, isList := d.plain(from).(*ast.SequenceNode); isList {
			sources = list.Values
		}
		for _, source := range sources {
			if fields, ok = d.merge(fields, source, depth-1); !ok {
				return fields, false
			}
		}
	}
	return fields, true
}

// keyToken is the token of a key that says its name.
func keyToken(key ast.Node) *token.Token {
	if explicit, ok := key.(*ast.MappingKeyNode); ok && explicit.Value != nil {
		return explicit.Value.GetToken()
	}
	return key.GetToken()
}

// first is the token that a node begins with: of a mapping its first key.
func first(n ast.Node) *token.Token {
	switch n := n.(type) {
	case *ast.MappingNode:
		if len(n.Values) > 0 {
			return keyToken(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return keyToken(n.Key)
	}
	return n.GetToken()
}

// errorAt is an InputError at a node; of a scalar it repeats the text.
func (d *document) errorAt(n ast.Node, format string, args ...any) *InputError {
	tk := first(n)
	e := &InputError{File: d.file, Line: tk.Position.Line, Column: tk.Position.Column, Message: fmt.Sprintf(format, args...)}
	if _, ok := n.(ast.ScalarNode); ok {
		e.Text = shorten(n.GetToken().Value)
	}
	return e
}

// article puts a or an before a noun.
func article(noun string) string {
	if strings.ContainsAny(noun[:1], "aeiou") {
		return "an " + noun
	}
	return "a " + noun
}
