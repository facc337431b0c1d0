# What can be done here. `make help` prints the lines with two number signs.

version := $(shell git describe --always --dirty 2>/dev/null || echo unknown)

# Packages whose tests start processes. They run after the others and one after
# another, so that nothing else takes the processors from what they time, and
# without the race detector, which does not see into other processes. The last
# mostly waits, so it runs beside those that time nothing; from its own folder,
# because from elsewhere Go would not show its matrix.
processes := /samples/|/test/(pages|e2e|hostile|sdk|legacydiff|conformance)

# Style and common mistakes, found by one tool of one version.
golangci_lint := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# Where process tests find what `build` made (alone, they build it themselves)
# and Debian's HAProxy.
export OCRMUX_BIN := $(CURDIR)/bin
export PATH := $(PATH):/usr/sbin

.PHONY: help build run samples test lint bench soak ready clean
.DEFAULT_GOAL := help

help: ## print this list
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

build: ## compile bin/router and bin/vllmsim
	go build -ldflags '-X main.version=$(version)' -o bin/ ./cmd/router ./cmd/vllmsim

run: ## start two stand-ins and the router, until Ctrl-C
	@scripts/run

samples: ## draw the pages in samples/ again
	go run ./samples/draw

test: ## everything that CI runs: vet, unit tests with -race, processes, SDKs
	scripts/need test
	go vet ./...
	$(MAKE) --no-print-directory build
	go test -race $$(go list ./... | grep -vE '$(processes)')
	go test -count=1 -p 1 ./test/e2e ./test/hostile
	scripts/sdk python
	scripts/sdk node
	@go test -count=1 -p 1 $$(go list ./... | grep -E '$(processes)' | grep -vE '/test/(e2e|hostile|conformance)$$') & others=$$!; \
	status=0; (cd test/conformance && go test -count=1) || status=1; wait $$others || status=1; exit $$status

lint: ## check style and common mistakes; the first time takes minutes to compile
	go run $(golangci_lint) run --config scripts/golangci.yaml ./...

bench: build ## measure what the router costs on this machine
	bench/run

soak: build ## the long forms of the process tests: kills, leavers, deaths mid-stream
	scripts/need test
	go test -count=1 -timeout 60m -v -run Soak ./test/e2e -soak
	go test -count=1 -timeout 60m -run MidStream ./test/sdk -deaths 100
	go test -count=1 -timeout 60m -v ./test/hostile -full
	go test -count=1 -timeout 60m -v -run Router_ ./test/legacydiff -mutations 2000

ready: lint test bench soak ## all of these: may it be handed on?

clean: ## remove what the other commands made
	rm -rf bin .run .venv test/drivers/node/node_modules test/legacydiff/reference/.venv
