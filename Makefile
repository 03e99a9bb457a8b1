# Qanat. `make run` starts a broker, `make test` passes the tests; `make help` lists the rest.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO       ?= go
BIN      := bin/qanat
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
PACKAGES := ./...
TOOLS    := $(CURDIR)/bin/tools

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
S3SERVER    := github.com/versity/versitygw/cmd/versitygw@v1.8.0

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

.PHONY: build
build: ## build bin/qanat
	$(GO) build -trimpath -ldflags "-X main.version=$(VERSION)" -o $(BIN) ./cmd/qanat

.PHONY: run
run: build ## build and start one broker here, with a directory as its bucket
	@exec $(BIN) dev

.PHONY: cluster
cluster: build ## build and start three brokers here, from examples/cluster
	@exec integration/scripts/cluster

.PHONY: test
test: ## install what the tests need and run them
	$(GO) mod download
	integration/scripts/s3 $(GO) test -timeout 20m $(PACKAGES)

.PHONY: check
check: ## format, vet, staticcheck, layers, fuzz seeds, generated files
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'not formatted: run gofmt -w on these'; exit 1; }
	$(GO) vet $(PACKAGES)
	GOOS=darwin $(GO) vet ./tier/vfs ./cmd/qanat
	integration/scripts/faults-bugs vet
	GOBIN=$(TOOLS) $(GO) install $(STATICCHECK)
	$(TOOLS)/staticcheck $(PACKAGES)
	QANAT_BIN=none $(GO) test -count=1 -run 'TestImportsPointDown|TestFuzzTargetsHaveSeeds' ./integration
	$(MAKE) --no-print-directory terraform
	$(MAKE) --no-print-directory generate
	@git diff --exit-code --stat -- docs wire metadata terraform examples || { echo 'generated files are not current: run make generate and commit'; exit 1; }

.PHONY: terraform
terraform: ## terraform's fmt, validate and test for terraform/ (says so where there is no terraform)
	integration/scripts/terraform

.PHONY: generate
generate: ## make generated code and documents anew
	$(GO) generate $(PACKAGES)

.PHONY: race
race: ## the tests under the race detector
	$(GO) test -race $(PACKAGES)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (default 20s)
	@integration/scripts/fuzz "$${FUZZTIME:-20s}"

.PHONY: interop
interop: build ## other people's clients and test suites against a broker
	integration/scripts/interop

.PHONY: compatibility
compatibility: ## docs/compatibility.md from what the last make interop, or parts of it, has said
	cp bin/interop/results/*.json integration/interop/results/
	$(GO) generate ./integration/interop/results

.PHONY: faults
faults: build ## faults on one broker, then the matrix of faults and clients on a cluster, judged by the checker (FAULTS_TIME, FAULTS_SEED)
	integration/scripts/faults

.PHONY: faults-broker
faults-broker: build ## one broker: kills, full disks, broken buckets
	integration/scripts/faults-broker

.PHONY: faults-bugs
faults-bugs: ## deliberate bugs, each of which the fault runs must find within a minute
	integration/scripts/faults-bugs

.PHONY: faults-cluster
faults-cluster: build ## a cluster under clients of three languages and drawn faults, judged by the checker (FAULTS_TIME, FAULTS_SEED)
	integration/scripts/faults-cluster

.PHONY: upgrade
upgrade: build ## a loaded cluster from a previous commit's program (QANAT_UPGRADE_FROM) to this one, a node at a time, and a rolling restart
	QANAT_BIN=$(CURDIR)/$(BIN) $(GO) test -count=1 -v -run TestRollingUpgrade ./integration

.PHONY: bench
bench: build ## benchmarks: Go's own, then against Apache Kafka side by side, then replay from an S3 server (needs root)
	$(GO) test -run '^$$' -bench . -benchmem -benchtime 1s ./wire/... ./tier/hot ./tier/cold ./broker/server ./metadata/quorum
	integration/scripts/bench
	integration/scripts/bench-start
	integration/scripts/s3 $(GO) run ./integration/replay -qanat $(BIN) -mib 1536
	S3_NICE=19 integration/scripts/s3 $(GO) run ./integration/replay -qanat $(BIN) -beside -partitions 16 -mib 1200 -seconds 5
	integration/scripts/s3 $(GO) test -count=1 -v -run TestRequestsPerGiB ./integration

.PHONY: bench-cluster
bench-cluster: build ## three brokers against three of Apache Kafka side by side, then offset commits through the quorum (needs root)
	integration/scripts/bench-cluster

.PHONY: demo
demo: build ## the main job, large: produce, roll to the bucket, kill, replay (GIB=3, BUCKET=s3, minio or a URL)
	$(if $(filter s3 minio,$(BUCKET)),integration/scripts/s3) $(GO) run ./integration/demo -qanat $(BIN) -gib $(or $(GIB),3) -bucket '$(BUCKET)'

.PHONY: dist
dist: ## what is released, into dist/: binaries, archives, deb, rpm, SBOM, checksums (PLATFORMS="linux/amd64 …")
	cmd/qanat/packaging/dist $(PLATFORMS)

.PHONY: dist-test
dist-test: ## the same twice, installed, started, upgraded and removed in a clean root; the image's steps (needs root)
	integration/scripts/dist-test

.PHONY: aws-test
aws-test: ## the AWS module and its examples applied to a moto server, its user data run on machines here (needs root and terraform; AWS_TEST=-short: fewer replacements)
	integration/scripts/aws $(GO) test -count=1 -v -parallel 4 -timeout 20m $(AWS_TEST) ./integration/aws

.PHONY: s3server
s3server: ## build the S3 server that the tests use
	GOBIN=$(TOOLS) $(GO) install $(S3SERVER)
