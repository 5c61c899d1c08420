package tidy

import (
	"fmt"
	"go/ast"
	"go/types"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

// fsPackages have what syncs and renames. Calls of our own durable, and of the methods of our own types that are called Sync, are fine: in
// the end they come to durable.
var fsPackages = []string{"os", "syscall", "golang.org/x/sys/unix", "github.com/cockroachdb/pebble/v2/vfs"}

var fsNames = []string{"Sync", "SyncData", "SyncTo", "Rename", "Renameat", "Renameat2", "Fsync", "Fdatasync", "SyncFileRange"}

// checkDurable: only store/durable decides when bytes are safe. Names alone would not tell a file from other things that are synced, so this
// rule needs types, and that everything compiles.
func checkDurable(t *testing.T, root string) []finding {
	t.Helper()
	loaded, err := packages.Load(&packages.Config{Mode: packages.LoadSyntax, Dir: root}, "./...")
	if err != nil {
		t.Fatal(err)
	}
	var found []finding
	for _, p := range loaded {
		if len(p.Errors) > 0 {
			t.Errorf("%s does not compile: %v", p.PkgPath, p.Errors[len(p.Errors)-1])
		}
		if p.PkgPath != module+"/store/durable" && !strings.HasSuffix(p.PkgPath, "test") {
			found = append(found, syncs(p, root)...)
		}
	}
	return found
}

// syncs finds the uses of what syncs or renames, whether they are called there or not.
func syncs(p *packages.Package, root string) []finding {
	var found []finding
	for _, f := range p.Syntax {
		ast.Inspect(f, func(n ast.Node) bool {
			id, ok := n.(*ast.Ident)
			if !ok {
				return true
			}
			fn, ok := p.TypesInfo.Uses[id].(*types.Func)
			if !ok || fn.Pkg() == nil || !contains(fsPackages, fn.Pkg().Path()) || !contains(fsNames, fn.Name()) {
				return true
			}
			at := p.Fset.Position(id.Pos())
			path, err := filepath.Rel(root, at.Filename)
			if err != nil {
				path = at.Filename
			}
			found = append(found, finding{rule: "durable", path: filepath.ToSlash(path), line: at.Line,
				text: fmt.Sprintf("%s: only store/durable syncs and renames", strings.ReplaceAll(fn.FullName(), module+"/", ""))})
			return true
		})
	}
	return found
}
