# The daily commands. A bare "make" lists them.
SHELL := /bin/bash
GO    ?= go
BIN   := bin/quorumail

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: go
go:
	@command -v $(GO) >/dev/null || { echo "There is no Go here: install the version that go.mod names ($$(sed -n 's/^go //p' go.mod)) or a later one."; exit 1; }

.PHONY: build
build: go ## build bin/quorumail, without cgo
	CGO_ENABLED=0 $(GO) build -o $(BIN) ./cmd/quorumail

.PHONY: run
run: build ## three nodes on this machine, two accounts, mail flowing; Ctrl-C stops them
	@exec ./$(BIN) dev --nodes 3 --dir .quorumail-dev

# What the tests use beyond Go: real mail clients, as Debian packages them.
TOOLS := curl swaks mbsync python3
PACKAGES := curl swaks isync python3

.PHONY: tools
tools:
	@missing=; for t in $(TOOLS); do command -v $$t >/dev/null || missing="$$missing $$t"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing for the tests: $(PACKAGES)"; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES) >/dev/null; \
	else echo "The tests with these clients are skipped:$$missing. On Debian: apt-get install $(PACKAGES)"; fi

.PHONY: test
test: go tools ## every test, in at most 15 minutes
	$(GO) test -timeout 15m ./...

.PHONY: race
race: go ## the packages with goroutines under the race detector
	$(GO) test -race -short -timeout 20m ./cluster/... ./store/... ./protocol/... ./ops/...

.PHONY: soak
soak: go tools ## the long forms of the tests
	QUORUMAIL_SOAK=1 $(GO) test -timeout 3h ./...

FUZZTIME ?= 10s
.PHONY: fuzz
fuzz: go ## every fuzz target for FUZZTIME
	@for p in $$($(GO) list ./...); do for f in $$($(GO) test -list '^Fuzz' $$p | grep ^Fuzz); do echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p || exit 1; done; done

.PHONY: check
check: go ## gofmt, vet, staticcheck, govulncheck
	@f=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$f" ] || { echo "gofmt these: $$f"; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	@$(GO) tool govulncheck ./... >/tmp/govulncheck.$$$$ 2>&1; s=$$?; if [ $$s = 3 ]; then cat /tmp/govulncheck.$$$$; rm -f /tmp/govulncheck.$$$$; exit 1; fi; \
	if [ $$s != 0 ]; then echo "govulncheck could not work (its database is not reachable?): $$(tail -n 1 /tmp/govulncheck.$$$$)"; fi; rm -f /tmp/govulncheck.$$$$

.PHONY: bench
bench: go ## benchmarks of the packages, and of a cluster on this machine
	$(GO) test -run '^$$' -bench . -benchtime 1s ./store/... ./protocol/... ./cluster/...

.PHONY: proto
proto: go ## generate store/storepb again; needs protoc
	@command -v protoc >/dev/null || { echo "protoc is missing. On Debian: apt-get install protobuf-compiler"; exit 1; }
	$(GO) build -o bin/protoc-gen-go google.golang.org/protobuf/cmd/protoc-gen-go
	PATH=$$PWD/bin:$$PATH protoc -I store/storepb --go_out=store/storepb --go_opt=paths=source_relative store.proto

.PHONY: clean
clean: ## remove what was built, and the data of "make run"
	rm -rf bin .quorumail-dev
