package tidy

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
)

// importTable says which of our packages those under a folder may import: the folders listed, and those under them, unless the list says
// so with a "=" for that package alone. The longest folder that fits counts. Packages under one entry may import each other.
var importTable = []struct {
	folder string
	may    []string
}{
	{"cmd", []string{"cluster", "store", "protocol", "queue", "ops"}},

	{"cluster", []string{"store/durable", "=store/broken"}},

	{"store", []string{"=store/storepb"}},
	{"store/storepb", nil},
	{"store/durable", nil},
	{"store/broken", nil},
	{"store/kv", []string{"=store", "store/durable"}},
	{"store/blob", []string{"=store", "=store/storepb", "store/durable", "=store/broken"}},
	{"store/state", []string{"=store", "=store/storepb", "=store/kv", "=store/blob", "=store/broken"}},
	{"store/replica", []string{"=store", "=store/storepb", "store/state", "=store/kv", "=store/blob", "=store/broken"}},

	{"protocol", []string{"protocol"}},
	{"protocol/smtp/smtpd", session},
	{"protocol/imap/imapd", session},
	{"protocol/pop3/pop3d", session},
	{"protocol/web", session},

	{"queue", append([]string{"store/durable"}, session...)},
	{"ops", []string{"cluster", "store", "protocol", "queue", "ops"}},
	{"jepsen", nil},
}

// session is what the code of one session may import.
var session = []string{"=store", "=store/storepb", "store/replica", "=store/state", "=store/blob", "protocol"}

// suites are the packages that tests alone may import besides.
var suites = []string{"store/kv/kvtest", "store/blob/blobtest", "cluster/clustertest", "store/kv", "store/blob", "store/durable", "store/durable/durabletest", "jepsen/disk/faultfs"}

// topFolders is the whole list.
var topFolders = []string{"cmd", "cluster", "store", "protocol", "queue", "ops", "jepsen"}

func checkImports(f *goFile) []finding {
	if f.dir == "." {
		return []finding{f.finding("imports", f.ast.Package, "there is no Go code at the root")}
	}
	var found []finding
	for _, s := range f.ast.Imports {
		to, ours := strings.CutPrefix(strings.Trim(s.Path.Value, `"`), module+"/")
		if !ours || mayImport(f.dir, to) || f.test && slices.Contains(suites, to) {
			continue
		}
		found = append(found, f.finding("imports", s.Pos(), fmt.Sprintf("%s may not import %s", f.dir, to)))
	}
	return found
}

func mayImport(from, to string) bool {
	folder, may := entryOf(from)
	if folder == "" {
		return false
	}
	if under(to, folder) {
		// Within one entry, but not down into a deeper one that has rules of its own, unless it is named.
		if deeper, _ := entryOf(to); deeper == folder {
			return true
		}
	}
	if under(to, "cmd") || under(to, "ops") && !under(from, "ops") && !under(from, "cmd") {
		return false
	}
	if strings.HasPrefix(from, "protocol") && !isSession(from) && isSession(to) {
		return false // wire packages know nothing of sessions
	}
	for _, m := range may {
		if exact, ok := strings.CutPrefix(m, "="); ok && to == exact || !ok && under(to, m) {
			return true
		}
	}
	return false
}

func isSession(dir string) bool {
	folder, _ := entryOf(dir)
	return folder == "protocol/smtp/smtpd" || folder == "protocol/imap/imapd" || folder == "protocol/pop3/pop3d"
}

// entryOf finds the entry of the import table that counts for a folder.
func entryOf(dir string) (folder string, may []string) {
	for _, e := range importTable {
		if under(dir, e.folder) && len(e.folder) > len(folder) {
			folder, may = e.folder, e.may
		}
	}
	return folder, may
}

func under(dir, folder string) bool { return dir == folder || strings.HasPrefix(dir, folder+"/") }

// checkTree looks at what is no Go file: the list of top folders, and go.mod.
func checkTree(root string) []finding {
	found := checkModule(filepath.Join(root, "go.mod"))
	entries, err := os.ReadDir(root)
	if err != nil {
		return append(found, finding{rule: "tree", path: ".", text: err.Error()})
	}
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() && !strings.HasPrefix(name, ".") && name != "bin" && !slices.Contains(topFolders, name) {
			found = append(found, finding{rule: "tree", path: name, text: "a top folder that is not in the list"})
		}
	}
	return found
}

// checkModule: "go install" refuses a module with replacements.
func checkModule(path string) []finding {
	raw, err := os.ReadFile(path)
	if err != nil {
		return []finding{{rule: "tree", path: "go.mod", text: err.Error()}}
	}
	m, err := modfile.Parse("go.mod", raw, nil)
	if err != nil {
		return []finding{{rule: "tree", path: "go.mod", text: err.Error()}}
	}
	var found []finding
	for _, r := range m.Replace {
		found = append(found, finding{rule: "tree", path: "go.mod", line: r.Syntax.Start.Line, text: "a replace: go install would refuse the module"})
	}
	if m.Module == nil || m.Module.Mod.Path != module {
		found = append(found, finding{rule: "tree", path: "go.mod", text: "the module is not " + module})
	}
	return found
}
