package raftlog

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Whatever is lost with the power: the term of a vote and who got it belong together.
func TestVoteIsKeptWithItsTerm(t *testing.T) {
	mem := vfs.NewCrashableMem()
	l := open(t, Config{Dir: "raft", FS: mem})
	vote := func(term uint64, who string) {
		t.Helper()
		if err := l.SetUint64([]byte(voteTerm), term); err != nil {
			t.Fatal(err)
		}
		if got, err := l.GetUint64([]byte(voteTerm)); got != term || err != nil {
			t.Fatalf("the term that was just set is %d, %v", got, err)
		}
		if who == "" {
			return
		}
		if err := l.Set([]byte("LastVoteCand"), []byte(who)); err != nil {
			t.Fatal(err)
		}
	}
	vote(4, "n1")
	vote(5, "n2")
	vote(6, "") // the power goes before the vote is given
	after := open(t, Config{Dir: "raft", FS: mem.CrashClone(vfs.CrashCloneCfg{})})
	term, err := after.GetUint64([]byte(voteTerm))
	who, werr := after.Get([]byte("LastVoteCand"))
	if term != 5 || string(who) != "n2" || err != nil || werr != nil {
		t.Errorf("after the loss of power: term %d, vote for %q, %v, %v", term, who, err, werr)
	}
}

// The library must still write the term of a vote under this key, and right before the vote; else a vote could be answered before it is durable.
func TestLibraryWritesTheVoteRightAfterItsTerm(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/hashicorp/raft").Output()
	if err != nil {
		t.Skipf("where the library is: %v", err)
	}
	raw, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "raft.go"))
	if err != nil {
		t.Fatal(err)
	}
	key := regexp.MustCompile(`keyLastVoteTerm\s+= \[\]byte\("` + voteTerm + `"\)`)
	pair := regexp.MustCompile(`SetUint64\(keyLastVoteTerm, term\); err != nil \{\s+return err\s+\}\s+if err := r\.stable\.Set\(keyLastVoteCand,`)
	if !key.Match(raw) || !pair.Match(raw) || strings.Count(string(raw), "(keyLastVoteTerm") != 2 {
		t.Error("the library keeps votes in another way now: see voteTerm")
	}
}
