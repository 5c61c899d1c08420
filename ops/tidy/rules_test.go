package tidy

import (
	"go/ast"
	"go/token"
	"regexp"
	"strconv"
	"strings"
)

// checkPackageComments: every package says what it is for.
func checkPackageComments(files []*goFile) []finding {
	first, said := map[string]*goFile{}, map[string]bool{}
	var order []string
	for _, f := range files {
		if f.test {
			continue
		}
		if first[f.dir] == nil {
			first[f.dir] = f
			order = append(order, f.dir)
		}
		said[f.dir] = said[f.dir] || !f.generated && f.ast.Doc != nil && strings.TrimSpace(f.ast.Doc.Text()) != ""
	}
	var found []finding
	for _, dir := range order {
		if !said[dir] {
			found = append(found, first[dir].finding("packages", first[dir].ast.Package, "package "+dir+" has no comment that says what it is for"))
		}
	}
	return found
}

// checkInit: importing a package changes nothing.
func checkInit(f *goFile) []finding {
	if f.generated {
		return nil
	}
	var found []finding
	for _, d := range f.ast.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			found = append(found, f.finding("init", fn.Pos(), "func init: importing a package has no side effects"))
		}
	}
	for _, s := range f.ast.Imports {
		if s.Name != nil && s.Name.Name == "_" && !f.test {
			found = append(found, f.finding("init", s.Pos(), "an import for its side effects alone"))
		}
	}
	return found
}

// checkPurity: what Apply does must be the same on every node.
func checkPurity(f *goFile) []finding {
	if !under(f.dir, "store/state") || f.test {
		return nil
	}
	var found []finding
	for _, sel := range f.uses("time", "Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep") {
		found = append(found, f.finding("purity", sel.Pos(), "time."+sel.Sel.Name+": time comes with the command"))
	}
	for _, path := range []string{"math/rand", "math/rand/v2", "crypto/rand", "hash/maphash"} {
		if f.localName(path) != "" {
			found = append(found, f.finding("purity", f.ast.Package, path+": what is random comes with the command"))
		}
	}
	for _, sel := range f.uses("os", "Getenv", "LookupEnv", "Hostname", "Getpid") {
		found = append(found, f.finding("purity", sel.Pos(), "os."+sel.Sel.Name+": differs from node to node"))
	}
	return found
}

// checkContext: whoever makes a fresh context cannot be told to stop.
func checkContext(f *goFile) []finding {
	if f.test || f.ast.Name.Name == "main" {
		return nil
	}
	var found []finding
	for _, sel := range f.uses("context", "Background", "TO"+"DO") {
		found = append(found, f.finding("context", sel.Pos(), "context."+sel.Sel.Name+" outside main and tests"))
	}
	return found
}

// checkSleep: tests wait for conditions. A sleep that is right has a comment on its line or the line above.
func checkSleep(f *goFile) []finding {
	if !f.test {
		return nil
	}
	commented := map[int]bool{}
	for _, group := range f.ast.Comments {
		for line := f.line(group.Pos()); line <= f.line(group.End()); line++ {
			commented[line] = true
		}
	}
	var found []finding
	for _, sel := range f.uses("time", "Sleep") {
		if line := f.line(sel.Pos()); !commented[line] && !commented[line-1] {
			found = append(found, f.finding("sleep", sel.Pos(), "time.Sleep in a test without a comment that says why"))
		}
	}
	return found
}

func (f *goFile) line(pos token.Pos) int { return f.fset.Position(pos).Line }

var (
	// Written in two parts, so that this file passes.
	unfinished  = regexp.MustCompile(`(?:^|[^.\w])(TO` + `DO|FIX` + `ME|XX` + `X|not implem` + `ented)\b`)
	machinePath = regexp.MustCompile("[\"'`( ]/(ho" + `me|Users|root|work)/[A-Za-z0-9_.-]`)
)

// checkWords: nothing unfinished, and nothing of somebody's machine.
func checkWords(f *goFile) []finding {
	if f.generated {
		return nil
	}
	var found []finding
	for i, line := range strings.Split(f.text, "\n") {
		for _, re := range []*regexp.Regexp{unfinished, machinePath} {
			if m := re.FindString(line); m != "" {
				found = append(found, finding{rule: "words", path: f.path, line: i + 1, text: strconv.Quote(strings.TrimSpace(m))})
			}
		}
	}
	return found
}

// checkExported: every exported name says what it is. Fields are left to judgement: many say it by their names.
func checkExported(f *goFile) []finding {
	if f.test || f.generated || f.ast.Name.Name == "main" {
		return nil
	}
	var found []finding
	missing := func(pos token.Pos, name string) {
		found = append(found, f.finding("exported", pos, name+" is exported and has no comment"))
	}
	for _, d := range f.ast.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && exportedReceiver(d) && d.Doc == nil && !selfEvident(d) {
				missing(d.Pos(), d.Name.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() && s.Doc == nil && d.Doc == nil {
						missing(s.Pos(), s.Name.Name)
					}
				case *ast.ValueSpec:
					// A comment above a group, beside the name or above it will do.
					if s.Names[0].IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
						missing(s.Pos(), s.Names[0].Name)
					}
				}
			}
		}
	}
	return found
}

// selfEvident: the methods that make an error one.
func selfEvident(d *ast.FuncDecl) bool {
	return d.Recv != nil && (d.Name.Name == "Error" || d.Name.Name == "Unwrap")
}

// exportedReceiver: methods of unexported types are seen through interfaces, whose comments count.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}
