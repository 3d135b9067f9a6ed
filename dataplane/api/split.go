package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
)

// Split cuts a file of YAML (or JSON) documents into objects. Items of a kind List become
// objects of their own. A document without a kind and with a top key tmm or controller is Helm
// values. Documents that are no object are InputErrors, joined; the others are returned.
func Split(file string, data []byte) ([]Object, error) {
	var (
		out  []Object
		errs []error
	)
	for _, doc := range documents(data) {
		o := Object{File: file, Line: doc.line, Raw: doc.text}
		n, err := o.node()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if n == nil {
			continue
		}
		objs, err := o.identify(n)
		if err != nil {
			errs = append(errs, err)
		}
		out = append(out, objs...)
	}
	return out, errors.Join(errs...)
}

// document is one document of a file with the line it starts at.
type document struct {
	line int
	text []byte
}

// documents cuts at the lines --- and ... (YAML 1.2, 9.1): no scalar can hold such a line.
func documents(data []byte) []document {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var out []document
	cur := document{line: 1}
	line := 0
	for len(data) > 0 {
		line++
		end := bytes.IndexByte(data, '\n') + 1
		if end == 0 {
			end = len(data)
		}
		text := data[:end]
		data = data[end:]
		rest, marker := cutMarker(text)
		if !marker {
			cur.text = append(cur.text, text...)
			continue
		}
		out = append(out, cur)
		cur = document{line: line, text: rest}
	}
	out = append(out, cur)
	kept := out[:0]
	for _, d := range out {
		if len(bytes.TrimSpace(d.text)) > 0 {
			kept = append(kept, d)
		}
	}
	return kept
}

// cutMarker reports whether a line starts or ends a document, and what stands behind the
// marker, with blanks in the marker's place so that columns stay right.
func cutMarker(line []byte) (rest []byte, ok bool) {
	for _, m := range []string{"---", "..."} {
		if after, found := bytes.CutPrefix(line, []byte(m)); found {
			if len(bytes.TrimSpace(after)) == 0 || after[0] == ' ' || after[0] == '\t' {
				return append([]byte("   "), after...), true
			}
		}
	}
	return nil, false
}

// node parses the object's document; nil for an empty one. Errors are *InputError.
func (o *Object) node() (*node, error) {
	if o.root != nil {
		return o.root, nil
	}
	n, err := parseNode(o.Raw)
	if err != nil {
		var se *syntaxError
		if errors.As(err, &se) {
			return nil, &InputError{File: o.File, Line: o.Line + max(se.line, 1) - 1, Column: se.col, Text: se.text, Message: se.message}
		}
		return nil, &InputError{File: o.File, Line: o.Line, Message: err.Error()}
	}
	o.root, o.fitted = n, &fitted{}
	return n, nil
}

// identify fills in what the object calls itself and takes Lists apart.
func (o *Object) identify(n *node) ([]Object, error) {
	if n.kind != mapNode {
		return nil, o.errorAt(n, "%s where an object belongs; write apiVersion, kind and metadata", n.kind)
	}
	if n.get("kind") == nil {
		if n.get("tmm") == nil && n.get("controller") == nil {
			return nil, o.errorAt(n, "no kind; write kind: (Helm values have a top key tmm or controller)")
		}
		o.Kind, o.Name = KindValues, "spk"
		return []Object{*o}, nil
	}
	o.Kind, o.APIVersion = n.get("kind").str(), n.get("apiVersion").str()
	if !kindPattern.MatchString(o.Kind) {
		return nil, o.errorAt(n.at("kind"), "no kind; write a word like Service")
	}
	if o.APIVersion == "" {
		return nil, o.errorAt(n.at("apiVersion"), "no apiVersion; write one like v1")
	}
	if items := n.get("items"); strings.HasSuffix(o.Kind, "List") && items != nil {
		return o.items(items)
	}
	return o.named(n)
}

var (
	kindPattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*$`)
	// Names become file names of the object store, so none may hold a slash.
	dnsPattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)
	anyPattern = regexp.MustCompile(`^[A-Za-z0-9:]([-A-Za-z0-9_.:]*[A-Za-z0-9])?$`)
)

func (o *Object) named(n *node) ([]Object, error) {
	name := n.at("metadata", "name")
	o.Name = n.get("metadata").get("name").str()
	pattern := dnsPattern
	if !isKnown(o.Kind) {
		pattern = anyPattern
	}
	switch {
	case o.Name == "":
		return nil, o.errorAt(name, "%s without a name; write metadata.name", o.Kind)
	case len(o.Name) > 253 || !pattern.MatchString(o.Name):
		return nil, o.errorAt(name, "no name; write lower-case letters, digits, - and . only")
	}
	if ClusterScoped(o.Kind) {
		return []Object{*o}, nil
	}
	o.Namespace = n.get("metadata").get("namespace").str()
	if o.Namespace == "" {
		o.Namespace = DefaultNamespace
	}
	if len(o.Namespace) > 63 || !dnsPattern.MatchString(o.Namespace) {
		return nil, o.errorAt(n.at("metadata", "namespace"), "no namespace; write lower-case letters, digits and - only")
	}
	return []Object{*o}, nil
}

func isKnown(kind string) bool {
	switch kind {
	case KindNamespace, KindNode, KindPod, KindService, KindEndpointSlice, KindDeployment, KindNAD, KindVLAN,
		KindIngressTCP, KindIngressUDP, KindIngressNGAP, KindEgress, KindSnatpool, KindDNSCache, KindStaticRoute, KindExternalRoute,
		KindSriovPolicy, KindSriovNetwork, KindValues:
		return true
	}
	return false
}

// items makes an object of each item of a List; its Raw is JSON, which is YAML too.
func (o *Object) items(list *node) ([]Object, error) {
	if list.kind != seqNode {
		return nil, o.errorAt(list, "%s where a list belongs", list.kind)
	}
	var (
		out  []Object
		errs []error
	)
	for i, item := range list.items {
		c := Object{File: o.File, Line: o.Line, root: item, fitted: &fitted{}}
		if strings.HasSuffix(item.get("kind").str(), "List") {
			errs = append(errs, c.errorAt(item, "a list inside a list; write its items"))
			continue
		}
		objs, err := c.identify(item)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		f := fitter{doc: &c, budget: maxNodes}
		raw, err := json.MarshalIndent(f.generic(item), "", "  ")
		if err != nil || f.budget <= 0 {
			errs = append(errs, c.errorAt(item, "item %d of the list is too large", i))
			continue
		}
		for j := range objs {
			if objs[j].Raw == nil {
				objs[j].Raw = append(raw, '\n')
			}
		}
		out = append(out, objs...)
	}
	return out, errors.Join(errs...)
}
