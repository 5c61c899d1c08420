package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

func TestOnlyFoldersOfKilledRunsAreSwept(t *testing.T) {
	parent := t.TempDir()
	under, held, err := workFolder(parent)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	killed, gone, err := workFolder(parent)
	if err != nil {
		t.Fatal(err)
	}
	gone.Close() // as the end of its process does
	results := filepath.Join(parent, "jepsen-results-1")
	if err := os.Mkdir(results, 0o700); err != nil {
		t.Fatal(err)
	}
	sweepFolders(parent, slog.New(slog.DiscardHandler))
	for _, dir := range []string{under, results} {
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if _, err := os.Stat(killed); !os.IsNotExist(err) {
		t.Errorf("%s of a killed run: %v", killed, err)
	}
}
