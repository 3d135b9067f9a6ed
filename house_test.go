// Package spklab_test holds the tests of the tree itself: which room may import which, and that
// each says what it is.
package spklab_test

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/spklab/spklab"

// goPackage is what this test reads of `go list -json`.
type goPackage struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []goPackage
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("decode go list: %v", err)
		}
		if len(p.GoFiles) > 0 {
			pkgs = append(pkgs, p)
		}
	}
	if len(pkgs) == 0 {
		t.Fatal("go list found no package")
	}
	return pkgs
}

// mayImport says which of the project's packages a room may import, by the room's prefix; the
// longest prefix counts. A name stands for the package and all below it. ctl is open to all.
var mayImport = map[string][]string{
	"bfd":                       {},
	"cni":                       {},
	"ctl":                       {},
	"hil":                       {},
	"topo":                      {"cni", "topo/vf", "topo/record", "topo/dump", "dataplane/vlan"},
	"topo/fabric":               {"topo"},
	"topo/picture":              {"topo"},
	"topo/record":               {},
	"topo/dump":                 {},
	"topo/vf":                   {"topo/record", "topo/dump"},
	"topo/sriov/policy":         {"topo/sriov", "dataplane/api"},
	"dataplane":                 {"dataplane/bpf", "dataplane/internal"},
	"dataplane/api":             {"cni"},
	"dataplane/bench":           {"dataplane"},
	"dataplane/bgp":             {"bfd"},
	"dataplane/internal/nstest": {"dataplane/internal", "roottest"},
	"dataplane/model":           {"dataplane"},
	"dataplane/dns46":           {},
	"dataplane/metrics":         {"dataplane", "dataplane/control"},
	"dataplane/vlan":            {"dataplane/vlan", "dataplane/bpf", "dataplane/internal"},
	"dataplane/control":         {"bfd", "dataplane", "dataplane/api", "dataplane/bgp", "dataplane/dns46", "dataplane/health", "dataplane/vlan"},
	"dataplane/health":          {},
	"ovnsim":                    {"ovnsim", "bfd", "dataplane/api"},
	"ovn":                       {"ovnsim", "bfd"},
	"roottest":                  {},
	"router":                    {"bfd", "dataplane/bgp"},
	"vm":                        {"ovn/debs", "vm"},
	"vm/guest":                  {},
	"kubesim":                   {"cni", "dataplane/api", "topo/vf"},
	"traffic":                   {"topo"},
	"lab":                       {"lab/knock", "hil", "bfd", "cni", "topo", "kubesim", "ovn", "router", "ovnsim", "dataplane"},
	"lab/churn":                 {"lab", "traffic", "topo", "dataplane", "bfd"},
	"lab/knock":                 {},
	"lab/live":                  {"lab", "topo/picture", "dataplane"},
	"scenarios/evidence":        {"topo"},
	"scenarios/drops":           {},
	"scenarios/flow":            {"scenarios/drops", "scenarios/evidence", "scenarios/report", "lab", "dataplane", "topo", "kubesim", "ovnsim"},
	"scenarios/report":          {"scenarios/evidence", "topo"},
	"scenarios/record":          {"scenarios/report"},
	"scenarios/diagnose":        {"scenarios/report", "lab", "topo", "kubesim", "dataplane"},
	"scenarios":                 {"scenarios", "bfd", "cni", "lab", "traffic", "topo", "kubesim", "ovn", "router", "ovnsim", "dataplane"},
	"e2e":                       {"scenarios", "lab", "traffic", "topo", "kubesim", "ovn", "router", "ovnsim", "dataplane", "vm"},
	"scenarios/timeline":        {"scenarios/report", "lab", "topo", "dataplane"},
	"scenarios/regress":         {"scenarios/report", "scenarios/state"},
	"cmd/spkproxy":              {"dataplane"},
	"cmd/spklab":                {"scenarios", "lab", "hil", "traffic", "topo", "kubesim", "ovn", "router", "ovnsim", "dataplane", "e2e", "vm"},
}

func room(path string) (string, []string, bool) {
	for p := path; p != "." && p != ""; p = filepath.Dir(p) {
		if allowed, ok := mayImport[p]; ok {
			return p, allowed, true
		}
	}
	return "", nil, false
}

func within(path, prefix string) bool { return path == prefix || strings.HasPrefix(path, prefix+"/") }

// TestImportOrder holds the arrows of ARCHITECTURE.md: what is tested knows nothing of the lab.
func TestImportOrder(t *testing.T) {
	for _, p := range listPackages(t) {
		path := strings.TrimPrefix(p.ImportPath, module+"/")
		name, allowed, ok := room(path)
		if !ok {
			t.Errorf("%s has no place in the house: add it to mayImport and to ARCHITECTURE.md", path)
			continue
		}
		for _, imp := range p.Imports {
			to, ours := strings.CutPrefix(imp, module+"/")
			if !ours || to == "ctl" || within(to, path) {
				continue
			}
			if !slices.ContainsFunc(allowed, func(a string) bool { return within(to, a) }) {
				t.Errorf("%s imports %s; %s may import only ctl, %s", path, to, name, strings.Join(allowed, ", "))
			}
		}
	}
}

// TestGobgpStaysInOnePackage keeps the move to gobgp's next major version one package wide.
func TestGobgpStaysInOnePackage(t *testing.T) {
	for _, p := range listPackages(t) {
		path := strings.TrimPrefix(p.ImportPath, module+"/")
		for _, imp := range p.Imports {
			if strings.HasPrefix(imp, "github.com/osrg/gobgp/") && path != "dataplane/bgp" {
				t.Errorf("%s imports %s: gobgp belongs to dataplane/bgp alone", path, imp)
			}
		}
	}
}

// TestPackageDocs asks each package for one doc comment.
func TestPackageDocs(t *testing.T) {
	for _, p := range listPackages(t) {
		docs := 0
		for _, f := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, f), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatalf("parse %s: %v", f, err)
			}
			if file.Doc != nil {
				docs++
			}
		}
		if docs != 1 {
			t.Errorf("%s has %d package docs, want 1", p.ImportPath, docs)
		}
	}
}
