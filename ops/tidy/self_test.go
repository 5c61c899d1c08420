package tidy

import (
	"go/ast"
	"go/importer"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

// Each rule finds what it is for, and nothing where all is well. "want" is a part of the one finding, "" for none.
func TestRules(t *testing.T) {
	const clean = "// Package x is clean.\npackage x\n"
	for _, tc := range []struct{ rule, name, path, text, want string }{
		{"imports", "downward", "store/replica/a.go", `package replica; import "github.com/quorumail/quorumail/store/state"`, ""},
		{"imports", "upward", "store/state/a.go", `package state; import "github.com/quorumail/quorumail/store/replica"`, "store/state may not import store/replica"},
		{"imports", "cluster knows no mail", "cluster/a.go", `package cluster; import "github.com/quorumail/quorumail/store"`, "cluster may not import store"},
		{"imports", "cluster within", "cluster/a.go", `package cluster; import "github.com/quorumail/quorumail/cluster/transport"`, ""},
		{"imports", "mail knows no cluster", "store/replica/a.go", `package replica; import "github.com/quorumail/quorumail/cluster"`, "may not import cluster"},
		{"imports", "nor do its tests", "store/replica/a_test.go", `package replica; import "github.com/quorumail/quorumail/cluster"`, "may not import cluster"},
		{"imports", "durable is a leaf", "store/durable/a.go", `package durable; import "github.com/quorumail/quorumail/store"`, "may not import store"},
		{"imports", "wire among wire", "protocol/imap/a.go", `package imap; import "github.com/quorumail/quorumail/protocol/mime"`, ""},
		{"imports", "wire knows no session", "protocol/imap/a.go", `package imap; import "github.com/quorumail/quorumail/protocol/imap/imapd"`, "may not import protocol/imap/imapd"},
		{"imports", "wire knows no store", "protocol/smtp/a.go", `package smtp; import "github.com/quorumail/quorumail/store"`, "may not import store"},
		{"imports", "session uses wire", "protocol/smtp/smtpd/a.go", `package smtpd; import "github.com/quorumail/quorumail/protocol/smtp"`, ""},
		{"imports", "session knows no kv", "protocol/smtp/smtpd/a.go", `package smtpd; import "github.com/quorumail/quorumail/store/kv"`, "may not import store/kv"},
		{"imports", "only cmd imports ops", "queue/a.go", `package queue; import "github.com/quorumail/quorumail/ops/config"`, "may not import ops/config"},
		{"imports", "nobody imports cmd", "ops/dev/a.go", `package dev; import "github.com/quorumail/quorumail/cmd/quorumail"`, "may not import cmd/quorumail"},
		{"imports", "tests use suites", "store/kv/a_test.go", `package kv; import "github.com/quorumail/quorumail/store/kv/kvtest"`, ""},
		{"imports", "others", "store/durable/a.go", `package durable; import "github.com/cockroachdb/pebble/v2/vfs"`, ""},
		{"imports", "code at the root", "a.go", `package a`, "no Go code at the root"},

		{"init", "func init", "store/a.go", "package store\nfunc init() {}", "func init"},
		{"init", "a method of that name", "store/a.go", "package store\ntype t int\nfunc (t) init() {}", ""},
		{"init", "for side effects", "ops/a.go", `package ops; import _ "net/http/pprof"`, "side effects"},

		{"purity", "clock", "store/state/a.go", "package state\nimport \"time\"\nvar x = time.Now()", "time.Now"},
		{"purity", "renamed", "store/state/a.go", "package state\nimport clock \"time\"\nvar x = clock.Since", "time.Since"},
		{"purity", "a length of time", "store/state/a.go", "package state\nimport \"time\"\nvar x = time.Second", ""},
		{"purity", "random", "store/state/a.go", "package state\nimport \"math/rand/v2\"\nvar x = rand.Int()", "math/rand/v2"},
		{"purity", "elsewhere", "store/replica/a.go", "package replica\nimport \"time\"\nvar x = time.Now()", ""},

		{"context", "background", "store/replica/a.go", "package replica\nimport \"context\"\nvar x = context.Background()", "context.Background"},
		{"context", "in tests", "store/replica/a_test.go", "package replica\nimport \"context\"\nvar x = context.Background()", ""},
		{"context", "in a suite", "store/kv/kvtest/a.go", "package kvtest\nimport \"context\"\nvar x = context.Background()", ""},
		{"context", "in main", "cmd/quorumail/a.go", "package main\nimport \"context\"\nvar x = context.Background()", ""},

		{"sleep", "bare", "store/a_test.go", "package store\nimport \"time\"\nfunc f() {\n\ttime.Sleep(1)\n}", "time.Sleep"},
		{"sleep", "with its reason", "store/a_test.go", "package store\nimport \"time\"\nfunc f() {\n\t// The kernel needs this long.\n\ttime.Sleep(1)\n}", ""},
		{"sleep", "not in a test", "store/a.go", "package store\nimport \"time\"\nfunc f() {\n\ttime.Sleep(1)\n}", ""},

		{"words", "unfinished", "store/a.go", "package store\n// TO" + "DO: finish\n", "TO" + "DO"},
		{"words", "within a word", "store/a.go", "package store\n// mañTO" + "DOs\n", ""},
		{"words", "a machine's path", "store/a.go", "package store\nvar x = \"/ho" + "me/an/mail\"", "/ho" + "me/a"},
		{"words", "a system's path", "store/a.go", "package store\nvar x = \"/etc/quorumail\"", ""},

		{"exported", "function", "store/a.go", "package store\nfunc Do() {}", "Do is exported"},
		{"exported", "method", "store/a.go", "package store\n// T is.\ntype T[X any] int\nfunc (T[X]) Do() {}", "Do is exported"},
		{"exported", "of an unexported type", "store/a.go", "package store\ntype t int\nfunc (*t) Do() {}", ""},
		{"exported", "type", "store/a.go", "package store\ntype T int", "T is exported"},
		{"exported", "constant", "store/a.go", "package store\nconst C = 1", "C is exported"},
		{"exported", "group with a comment", "store/a.go", "package store\n// Colours.\nconst (\n\tRed = 1\n\tBlue = 2\n)", ""},
		{"exported", "error", "store/a.go", "package store\n// E is.\ntype E int\nfunc (E) Error() string { return \"\" }", ""},
		{"exported", "with comments", "store/a.go", "package store\n// Do does.\nfunc Do() {}\n// T is.\ntype T int\nconst C = 1 // is one", ""},

		{"references", "listed", "store/a.go", "package store\n// RFC 5321 §4.1.2", ""},
		{"references", "not listed", "store/a.go", "package store\n// RFC " + "99999 §1", "RFC " + "99999"},
	} {
		t.Run(tc.rule+"/"+tc.name, func(t *testing.T) {
			f, err := parse(tc.path, tc.text)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, rules[tc.rule](f), tc.want)
		})
	}
	f, err := parse("store/a.go", clean)
	if err != nil {
		t.Fatal(err)
	}
	for name, rule := range rules {
		if found := rule(f); len(found) > 0 {
			t.Errorf("%s: %v", name, found)
		}
	}
}

func expect(t *testing.T, found []finding, want string) {
	t.Helper()
	switch {
	case want == "" && len(found) > 0:
		t.Errorf("found %v", found)
	case want != "" && (len(found) != 1 || !strings.Contains(found[0].text, want)):
		t.Errorf("found %v, want one with %q", found, want)
	}
}

func TestPackageComments(t *testing.T) {
	parseOne := func(path, text string) *goFile {
		f, err := parse(path, text)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	expect(t, checkPackageComments([]*goFile{parseOne("a/b.go", "package a"), parseOne("a/doc.go", "// Package a is.\npackage a")}), "")
	expect(t, checkPackageComments([]*goFile{parseOne("a/b.go", "package a"), parseOne("a/b_test.go", "// Package a is.\npackage a")}), "no comment")
	expect(t, checkPackageComments([]*goFile{parseOne("a/b.go", "// Code generated by x. DO NOT EDIT.\n\n// Package a is.\npackage a")}), "no comment")
}

func TestTree(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module "+module+"\n\ngo 1.26\n")
	write("store/a.go", "package store")
	write(".ci/run", "")
	expect(t, checkTree(dir), "")
	write("util/a.go", "package util")
	expect(t, checkTree(dir), "top folder")
	if err := os.RemoveAll(filepath.Join(dir, "util")); err != nil {
		t.Fatal(err)
	}
	write("go.mod", "module "+module+"\n\ngo 1.26\n\nreplace example.org/a => ../a\n")
	expect(t, checkTree(dir), "replace")
	write("go.mod", "module example.org/other\n")
	expect(t, checkTree(dir), "the module is not")
}

func TestSyncs(t *testing.T) {
	for text, want := range map[string]string{
		`import "os"; func f(a *os.File) { a.Sync() }`:                              "(*os.File).Sync",
		`import "os"; var f = os.Rename`:                                            "os.Rename",
		`import "os"; type file struct{ *os.File }; func f(a file) { a.Sync() }`:    "(*os.File).Sync",
		`import "syscall"; func f() { syscall.Fsync(1) }`:                           "syscall.Fsync",
		`type log struct{}; func (log) Sync() {}; func f(l log) { l.Sync() }`:       "",
		`import "os"; func f(a *os.File) { a.Close(); os.Remove("x"); os.Exit(1) }`: "",
	} {
		f, err := parse("store/a.go", "package store\n"+text)
		if err != nil {
			t.Fatal(err)
		}
		info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
		cfg := types.Config{Importer: importer.ForCompiler(token.NewFileSet(), "source", nil)}
		if _, err := cfg.Check("store", f.fset, []*ast.File{f.ast}, info); err != nil {
			t.Fatal(err)
		}
		expect(t, syncs(&packages.Package{Syntax: []*ast.File{f.ast}, TypesInfo: info, Fset: f.fset}, "."), want)
	}
}
