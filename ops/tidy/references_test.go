package tidy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

var citation = regexp.MustCompile(`\bRFC ([0-9]{3,5})\b`)

// listed reads the numbers in protocol/rfc.txt once.
var listed = sync.OnceValues(func() (map[string]string, error) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "protocol", "rfc.txt"))
	if err != nil {
		return nil, err
	}
	states := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[0] != "#" {
			states[fields[0]] = fields[1]
		}
	}
	return states, nil
})

// checkReferences: every RFC that the code cites stands in protocol/rfc.txt.
func checkReferences(f *goFile) []finding {
	states, err := listed()
	if err != nil {
		return []finding{{rule: "references", path: "protocol/rfc.txt", text: err.Error()}}
	}
	var found []finding
	for i, line := range strings.Split(f.text, "\n") {
		for _, m := range citation.FindAllStringSubmatch(line, -1) {
			if states[m[1]] == "" {
				found = append(found, finding{rule: "references", path: f.path, line: i + 1, text: m[0] + " is not listed in protocol/rfc.txt"})
			}
		}
	}
	return found
}

func TestListOfRFCsIsWellFormed(t *testing.T) {
	states, err := listed()
	if err != nil {
		t.Fatal(err)
	}
	number := regexp.MustCompile(`^[1-9][0-9]{2,4}$`)
	for n, state := range states {
		if !number.MatchString(n) || state != "yes" && state != "partial" && state != "no" {
			t.Errorf("%s %s", n, state)
		}
	}
}
