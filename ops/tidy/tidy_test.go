package tidy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/quorumail/quorumail"

// goFile is a parsed file of the project.
type goFile struct {
	path      string // from the root, with slashes
	dir       string // of path; "." for the root
	test      bool   // also in the suites that several implementations share: kvtest, blobtest
	generated bool
	fset      *token.FileSet
	ast       *ast.File
	text      string
}

// finding is a broken rule.
type finding struct {
	rule string
	path string
	line int
	text string
}

func (f *goFile) finding(rule string, pos token.Pos, text string) finding {
	return finding{rule: rule, path: f.path, line: f.fset.Position(pos).Line, text: text}
}

// rules look at one file each.
var rules = map[string]func(*goFile) []finding{
	"imports":    checkImports,
	"init":       checkInit,
	"purity":     checkPurity,
	"context":    checkContext,
	"sleep":      checkSleep,
	"words":      checkWords,
	"exported":   checkExported,
	"references": checkReferences,
}

func TestTidy(t *testing.T) {
	files := parseAll(t, root(t))
	var found []finding
	for name, rule := range rules {
		for _, f := range files {
			for _, one := range rule(f) {
				if one.rule != name {
					t.Errorf("rule %s answers as %s", name, one.rule)
				}
				found = append(found, one)
			}
		}
	}
	found = append(found, checkPackageComments(files)...)
	found = append(found, checkTree(root(t))...)
	found = append(found, checkDurable(t, root(t))...)
	for _, f := range unexplained(found, t) {
		t.Errorf("%s:%d: %s (%s)", f.path, f.line, f.text, f.rule)
	}
}

// unexplained drops what the table of exceptions explains, and fails for entries that explain nothing.
func unexplained(found []finding, t *testing.T) []finding {
	used := make([]bool, len(exceptions))
	var left []finding
next:
	for _, f := range found {
		for i, e := range exceptions {
			if e.rule == f.rule && (e.path == f.path || strings.HasSuffix(e.path, "/") && strings.HasPrefix(f.path, e.path)) && strings.Contains(f.text, e.text) {
				used[i] = true
				continue next
			}
		}
		left = append(left, f)
	}
	for i, e := range exceptions {
		if _, err := os.Stat(filepath.Join(root(t), strings.TrimSuffix(e.path, "/"))); err == nil && !used[i] {
			t.Errorf("the exception to %s for %s explains nothing any more: remove it", e.rule, e.path)
		}
	}
	return left
}

// root is the project's folder: where go.mod is.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func parseAll(t *testing.T, root string) []*goFile {
	t.Helper()
	var files []*goFile
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		f, err := parse(filepath.ToSlash(rel), string(raw))
		if err == nil {
			files = append(files, f)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no Go files")
	}
	return files
}

func parse(path, text string) (*goFile, error) {
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, path, text, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	dir := filepath.ToSlash(filepath.Dir(path))
	return &goFile{path: path, dir: dir, test: strings.HasSuffix(path, "_test.go") || strings.HasSuffix(dir, "test"), generated: ast.IsGenerated(tree),
		fset: fset, ast: tree, text: text}, nil
}

// uses finds each use of one of the names of an imported package; of any name if none is given.
func (f *goFile) uses(importPath string, names ...string) []*ast.SelectorExpr {
	local := f.localName(importPath)
	if local == "" {
		return nil
	}
	var found []*ast.SelectorExpr
	ast.Inspect(f.ast, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if id, ok := sel.X.(*ast.Ident); ok && id.Name == local && (len(names) == 0 || contains(names, sel.Sel.Name)) {
			found = append(found, sel)
		}
		return true
	})
	return found
}

// localName is under which name a file imports a package, "" if it does not.
func (f *goFile) localName(importPath string) string {
	for _, s := range f.ast.Imports {
		if strings.Trim(s.Path.Value, `"`) != importPath {
			continue
		}
		if s.Name != nil {
			return s.Name.Name
		}
		if importPath == "math/rand/v2" {
			return "rand"
		}
		return importPath[strings.LastIndexByte(importPath, '/')+1:]
	}
	return ""
}

func contains(list []string, s string) bool {
	for _, one := range list {
		if one == s {
			return true
		}
	}
	return false
}
