package api

import (
	"errors"
	"fmt"
	"math"
	"strings"

	yaml "github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// nodeKind is the type of a YAML value.
type nodeKind uint8

const (
	nullNode nodeKind = iota
	boolNode
	numberNode
	stringNode
	seqNode
	mapNode
)

// String is the kind as messages name it.
func (k nodeKind) String() string {
	return [...]string{"null", "a boolean", "a number", "a string", "a list", "a mapping"}[k]
}

// node is one YAML value with its place in its document. Aliases share nodes, so a tree is
// read-only and is walked with a budget.
type node struct {
	kind      nodeKind
	line, col int    // from 1, relative to the document
	text      string // as written, scalars only
	plain     bool   // a string without quotes
	value     any    // bool, int64, uint64, float64, string
	items     []*node
	fields    []field
}

// field is one entry of a mapping in the order of the document.
type field struct {
	name      string
	line, col int
	value     *node
}

// maxNodes bounds the values of one document, aliases counted as often as they are used.
const maxNodes = 1 << 17

// maxDepth bounds the nesting of one document.
const maxDepth = 64

// get returns the value under a key of a mapping, nil when it is not there.
func (n *node) get(name string) *node {
	if n == nil || n.kind != mapNode {
		return nil
	}
	for i := range n.fields {
		if n.fields[i].name == name {
			return n.fields[i].value
		}
	}
	return nil
}

// at follows keys; where a key is missing the last node found stands for it, so that an error
// always has a place.
func (n *node) at(path ...string) *node {
	for _, name := range path {
		next := n.get(name)
		if next == nil {
			return n
		}
		n = next
	}
	return n
}

// item is at for the i-th entry of a list.
func (n *node) item(i int) *node {
	if n.kind != seqNode || i >= len(n.items) {
		return n
	}
	return n.items[i]
}

// str is the value of a string scalar, empty for everything else.
func (n *node) str() string {
	if n == nil || n.kind != stringNode {
		return ""
	}
	return n.value.(string)
}

// syntaxError is a document that is no YAML, with its place.
type syntaxError struct {
	line, col     int
	text, message string
}

func (e *syntaxError) Error() string { return e.message }

func errorAt(tk *token.Token, format string, args ...any) *syntaxError {
	e := &syntaxError{message: fmt.Sprintf(format, args...)}
	if tk != nil && tk.Position != nil {
		e.line, e.col, e.text = tk.Position.Line, tk.Position.Column, firstLine(tk.Value)
	}
	return e
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	if len(s) > 60 {
		s = s[:60]
	}
	return strings.ToValidUTF8(s, "?")
}

// parseNode reads one YAML document. An empty document is nil. Errors are *syntaxError.
func parseNode(data []byte) (n *node, err error) {
	defer func() {
		// A panic of the parser on odd input is the input's fault, not the program's.
		if p := recover(); p != nil {
			n, err = nil, &syntaxError{line: 1, message: "no YAML that can be read"}
		}
	}()
	f, err := parser.ParseBytes(data, 0)
	if err != nil {
		var ye yaml.Error
		if errors.As(err, &ye) {
			return nil, errorAt(ye.GetToken(), "%s", ye.GetMessage())
		}
		return nil, &syntaxError{line: 1, message: firstLine(err.Error())}
	}
	b := builder{anchors: map[string]*node{}}
	for _, d := range f.Docs {
		if d.Body == nil || d.Body.Type() == ast.CommentType || d.Body.Type() == ast.DirectiveType {
			continue
		}
		if n != nil {
			return nil, errorAt(d.Body.GetToken(), "a second document; write --- on a line of its own before it")
		}
		if n, err = b.build(d.Body, 0); err != nil {
			return nil, err
		}
	}
	if n != nil && n.kind == nullNode {
		return nil, nil
	}
	return n, nil
}

// builder turns the parser's tree into nodes.
type builder struct {
	anchors map[string]*node
	count   int
}

func (b *builder) build(a ast.Node, depth int) (*node, error) {
	b.count++
	if depth > maxDepth || b.count > maxNodes {
		return nil, errorAt(a.GetToken(), "nested too deep or too long; at most %d levels and %d values", maxDepth, maxNodes)
	}
	switch v := a.(type) {
	case *ast.MappingNode:
		return b.mapping(v.GetToken(), v.Values, v.IsFlowStyle, depth)
	case *ast.MappingValueNode:
		return b.mapping(v.GetToken(), []*ast.MappingValueNode{v}, false, depth)
	case *ast.SequenceNode:
		return b.sequence(v, depth)
	case *ast.AnchorNode:
		n, err := b.build(v.Value, depth+1)
		if err == nil {
			b.anchors[v.Name.GetToken().Value] = n
		}
		return n, err
	case *ast.AliasNode:
		n := b.anchors[v.Value.GetToken().Value]
		if n == nil {
			return nil, errorAt(v.Value.GetToken(), "unknown anchor; define it with & before its use")
		}
		return n, nil
	case *ast.TagNode:
		return b.tagged(v, depth)
	case *ast.MappingKeyNode:
		return nil, errorAt(v.GetToken(), "a key of this kind is not used in manifests; write name: value")
	}
	return scalar(a)
}

func (b *builder) tagged(v *ast.TagNode, depth int) (*node, error) {
	if v.Value == nil {
		return nil, errorAt(v.Start, "a tag without a value")
	}
	n, err := b.build(v.Value, depth+1)
	if err != nil || v.Start.Value != "!!str" || n.kind > stringNode {
		return n, err
	}
	c := *n
	c.kind, c.value, c.plain = stringNode, c.text, false
	return &c, nil
}

func (b *builder) sequence(v *ast.SequenceNode, depth int) (*node, error) {
	n := place(seqNode, v.Start)
	for _, item := range v.Values {
		if item == nil {
			return nil, errorAt(v.Start, "a list entry without a value")
		}
		c, err := b.build(item, depth+1)
		if err != nil {
			return nil, err
		}
		n.items = append(n.items, c)
	}
	return n, nil
}

func (b *builder) mapping(start *token.Token, values []*ast.MappingValueNode, flow bool, depth int) (*node, error) {
	if !flow && len(values) > 0 {
		start = values[0].Key.GetToken()
	}
	n := place(mapNode, start)
	index := make(map[string]int, len(values))
	for _, mv := range values {
		if mv.Value == nil {
			return nil, errorAt(mv.GetToken(), "a key without a value")
		}
		c, err := b.build(mv.Value, depth+1)
		if err != nil {
			return nil, err
		}
		tk := mv.Key.GetToken()
		if mv.Key.IsMergeKey() {
			if err := b.merge(n, c, index, tk); err != nil {
				return nil, err
			}
			continue
		}
		if k, ok := mv.Key.(*ast.MappingKeyNode); ok {
			if _, ok := k.Value.(ast.ScalarNode); !ok {
				return nil, errorAt(tk, "a key that is no plain name")
			}
			tk = k.Value.GetToken()
		}
		f := field{name: tk.Value, line: tk.Position.Line, col: tk.Position.Column, value: c}
		if i, ok := index[f.name]; ok {
			n.fields[i] = f // its own field wins over a merged one
			continue
		}
		index[f.name] = len(n.fields)
		n.fields = append(n.fields, f)
	}
	return n, nil
}

// merge copies the fields of a merged mapping that are not there yet.
func (b *builder) merge(n, from *node, index map[string]int, tk *token.Token) error {
	if from.kind == seqNode {
		for _, item := range from.items {
			if item.kind != mapNode {
				return errorAt(tk, "only mappings can be merged")
			}
			if err := b.merge(n, item, index, tk); err != nil {
				return err
			}
		}
		return nil
	}
	if from.kind != mapNode {
		return errorAt(tk, "only mappings can be merged")
	}
	if b.count += len(from.fields); b.count > maxNodes {
		return errorAt(tk, "merges too much; at most %d values", maxNodes)
	}
	for _, f := range from.fields {
		if _, ok := index[f.name]; !ok {
			index[f.name] = len(n.fields)
			n.fields = append(n.fields, f)
		}
	}
	return nil
}

func place(k nodeKind, tk *token.Token) *node {
	n := &node{kind: k}
	if tk != nil && tk.Position != nil {
		n.line, n.col = tk.Position.Line, tk.Position.Column
	}
	return n
}

func scalar(a ast.Node) (*node, error) {
	tk := a.GetToken()
	n := place(nullNode, tk)
	n.text = tk.Value
	switch v := a.(type) {
	case *ast.NullNode:
	case *ast.BoolNode:
		n.kind, n.value = boolNode, v.Value
	case *ast.IntegerNode:
		n.kind, n.value = numberNode, v.Value
	case *ast.FloatNode:
		n.kind, n.value = numberNode, v.Value
		if math.IsInf(v.Value, 0) || math.IsNaN(v.Value) {
			return nil, errorAt(tk, "a number that JSON does not know")
		}
	case *ast.StringNode:
		n.kind, n.value = stringNode, v.Value
		n.plain = tk.Type == token.StringType
	case *ast.LiteralNode:
		n.kind, n.value = stringNode, ""
		if v.Value != nil {
			n.value, n.text = v.Value.Value, v.Value.Value
		}
	default:
		return nil, errorAt(tk, "not used in manifests")
	}
	return n, nil
}
