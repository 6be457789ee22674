# `make` prints this help. Every target is a short command you could type yourself.
GO      ?= go
PKG     ?= ./...
RUN     ?= .
TIME    ?= 60s
SEED    ?= 1
SEEDS   ?= 200
BIN     := bin
LINT    := $(BIN)/golangci-lint

.DEFAULT_GOAL := help
.PHONY: help build check fmt vet lint floors unit invariants race stress sim syncs fuzz e2e golden gen bench cross clean

help: ## print this help
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/walser
	CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN)/walser ./cmd/walser

check: fmt vet lint floors unit invariants ## what to run before a commit: format, vet, lint, floors, unit tests

fmt:
	@out=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$out" || { echo "gofmt would change:"; echo "$$out"; exit 1; }

vet:
	$(GO) vet ./...

lint: $(LINT)
	$(LINT) run ./...

$(LINT): tools/go.mod
	$(GO) build -C tools -o ../$(LINT) github.com/golangci/golangci-lint/v2/cmd/golangci-lint

floors:
	$(GO) test ./internal/archtest

unit: ## unit tests, as in the README
	$(GO) test ./...

invariants:
	$(GO) test -short -tags invariants ./internal/...

race: ## unit tests under the race detector
	$(GO) test -race -short $(PKG)

stress: ## PKG= RUN=: one test a hundred times
	$(GO) test -count=100 -failfast -run '$(RUN)' $(PKG)

sim: ## SEED= SEEDS=: crash simulation of the whole node
	$(GO) test ./sim -run Simulation -seed $(SEED) -seeds $(SEEDS) -timeout 60m

syncs: ## SEEDS=: take out one sync after the other, and find what is lost without it; takes an hour and more
	$(GO) test ./internal/storage ./internal/storage/cleaner ./sim -run NeedsEachSync -v -syncs $(SEEDS) -timeout 3h

fuzz: ## TIME=: every fuzz target for that long
	GO='$(GO)' TIME='$(TIME)' ./.ci/fuzz

e2e: build ## stock clients against bin/walser
	./.ci/e2e

golden: ## rewrite golden files; read the diff as a reviewer would
	./.ci/golden

gen: ## generated code
	$(GO) generate ./...

bench: build ## Walser and Apache Kafka under the same load
	$(GO) run -C bench . $(ARGS)

cross: ## the other platforms build and vet
	GOOS=darwin $(GO) vet ./... && GOOS=windows $(GO) vet ./...

clean:
	rm -rf $(BIN)
