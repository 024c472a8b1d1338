# Everything here works on a fresh Debian machine with Go, git and make; what else is needed is built into .tools
# from the modules under tools/, each of which pins its own versions.
SHELL   := /bin/bash -euo pipefail
ROOT    := $(CURDIR)
BUILD   := $(ROOT)/.build
TOOLS   := $(ROOT)/.tools
MODULES := pkg proto services cli
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
export GOTOOLCHAIN := local
# One set of flags for binaries, tests and tools, so that nothing is compiled twice; no C anywhere.
export CGO_ENABLED := 0
export GOFLAGS := -trimpath -buildvcs=false

.DEFAULT_GOAL := help
.PHONY: help build demo dev test test-race lint generate generate-check bench e2e e2e-compose fuzz postgres image clean

help: ## say what can be made
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build meshd, meshctl, meshbench, meshkey and mesh into .build
	@mkdir -p $(BUILD)
	go build -ldflags '$(LDFLAGS)' -o $(BUILD)/ ./services/cmd/... ./pkg/cmd/meshkey ./cli/cmd/mesh

demo: build ## run the main job: two providers, two people, real files; exits non-zero at the first thing that is wrong
	go run ./services/e2e/demo -bin $(BUILD) -store $${DEMO_STORE:-sqlite}

dev: build ## start two providers on this machine, in .build/dev; stop with ctrl-C
	@mkdir -p $(BUILD)/dev
	$(BUILD)/meshd dev --state $(BUILD)/dev/state.json --data $(BUILD)/dev/data

test: postgres ## all tests, against a private temporary PostgreSQL and embedded sqlite
	go test $(addprefix ./,$(addsuffix /...,$(MODULES)))
	@for m in $(MODULES); do (cd $$m && GOWORK=off go build ./...) || exit 1; done

test-race: postgres ## the same under the race detector
	CGO_ENABLED=1 go test -race $(addprefix ./,$(addsuffix /...,$(MODULES)))

lint: $(TOOLS)/golangci-lint ## golangci-lint (with the dependency rules) in each module, buf lint
	@for m in $(MODULES); do echo "lint $$m"; (cd $$m && $(TOOLS)/golangci-lint run --config $(ROOT)/.golangci.yml ./...) || exit 1; done
	@$(MAKE) --no-print-directory generate-check

generate: $(TOOLS)/buf $(TOOLS)/protoc-gen-go $(TOOLS)/protoc-gen-go-grpc ## regenerate the code of proto/
	cd proto && PATH=$(TOOLS):$$PATH $(TOOLS)/buf generate

generate-check: $(TOOLS)/buf $(TOOLS)/protoc-gen-go $(TOOLS)/protoc-gen-go-grpc ## buf lint, buf breaking against the last tag or main, generated code as committed
	cd proto && $(TOOLS)/buf lint
	@tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; cd proto && PATH=$(TOOLS):$$PATH $(TOOLS)/buf generate -o "$$tmp" && diff -r -x '*.proto' "$$tmp/mesh" mesh || { echo 'generated code is not that of the .proto files: make generate' >&2; exit 1; }
	@base=$$(git describe --tags --abbrev=0 2>/dev/null || git rev-parse -q --verify origin/main || git rev-parse HEAD); \
	 if git cat-file -e $$base:proto/buf.yaml 2>/dev/null; then cd proto && $(TOOLS)/buf breaking --against "$(ROOT)/.git#ref=$$base,subdir=proto"; fi

bench: postgres build ## benchmarks, as ratios: pkg against plain crypto, the whole path against pgbench
	go test -run '^$$' -bench . -benchtime 200ms ./pkg/...
	$(BUILD)/meshbench compare

e2e: build postgres ## the roles as separate processes, faults; then the compose stack where a Docker engine runs
	go build -C services -ldflags '-s -w' -o $(BUILD)/ github.com/nats-io/nats-server/v2
	MESH_E2E_BIN=$(BUILD) go test -tags e2e -timeout 15m ./services/e2e/...
	bash deploy/readme.sh >$(BUILD)/readme.log 2>&1 || { cat $(BUILD)/readme.log; exit 1; }
	@if docker info >/dev/null 2>&1; then $(MAKE) --no-print-directory e2e-compose; else echo 'no Docker engine here: the compose stack was not run'; fi

e2e-compose: build image $(TOOLS)/docker-compose ## the demo's scenario against docker-compose.yml
	bash deploy/compose/run.sh $(BUILD) $(TOOLS)/docker-compose

image: build ## the image meshd:dev, from scratch, static, non-root
	cp $(BUILD)/meshd $(BUILD)/meshctl deploy/image/
	DOCKER_BUILDKIT=0 docker build -q -t meshd:dev deploy/image; rm -f deploy/image/meshd deploy/image/meshctl

fuzz: ## each fuzz target for FUZZTIME (10 s)
	bash deploy/fuzz.sh $${FUZZTIME:-10s}

postgres: ## PostgreSQL's binaries, from Debian's packages when there are none
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || [ -n "$${MESH_TEST_POSTGRES:-}" ] || \
	 { command -v apt-get >/dev/null && sudo=$$([ $$(id -u) = 0 ] || echo sudo) && $$sudo apt-get update -qq && $$sudo apt-get install -y -qq --no-install-recommends postgresql >/dev/null; } || \
	 { echo 'no PostgreSQL here: install its server, or name one with MESH_TEST_POSTGRES' >&2; exit 1; }

clean: ## remove what was built
	rm -rf $(BUILD) $(TOOLS)

# --- tools: NAME is built from the module tools/NAME, at the version that its go.mod pins.
define tool
$(TOOLS)/$(1): tools/$(2)/go.mod
	@mkdir -p $(TOOLS); echo "building $(1)"; cd tools/$(2) && GOWORK=off go build -ldflags '-s -w $(4)' -o $$@ $(3)
endef
$(eval $(call tool,golangci-lint,golangci-lint,github.com/golangci/golangci-lint/v2/cmd/golangci-lint))
$(eval $(call tool,buf,buf,github.com/bufbuild/buf/cmd/buf))
$(eval $(call tool,protoc-gen-go,protoc,google.golang.org/protobuf/cmd/protoc-gen-go))
$(eval $(call tool,protoc-gen-go-grpc,protoc,google.golang.org/grpc/cmd/protoc-gen-go-grpc))
$(eval $(call tool,docker-compose,compose,github.com/docker/compose/v2/cmd,-X github.com/docker/compose/v2/internal.Version=v2.40.3))
