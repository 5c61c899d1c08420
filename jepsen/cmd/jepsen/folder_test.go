package main

import (
	"errors"
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
	results, young := filepath.Join(parent, "jepsen-results-1"), filepath.Join(parent, "jepsen-2")
	if err := errors.Join(os.Mkdir(results, 0o700), os.Mkdir(young, 0o700), os.WriteFile(filepath.Join(young, lockName), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	sweepFolders(parent, slog.New(slog.DiscardHandler))
	for _, dir := range []string{under, results, young} {
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if _, err := os.Stat(killed); !os.IsNotExist(err) {
		t.Errorf("%s of a killed run: %v", killed, err)
	}
}
