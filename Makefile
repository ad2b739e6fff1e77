# `make demo` shows the main job on a real cluster; `make test` proves it. Both build or install what they need, given
# Rust, Go and Debian's packages. CLUSTER=existing with KUBECONFIG uses a cluster of yours instead of starting one.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

CARGO ?= cargo
cluster := $(CARGO) run -q -p leadergroup-cluster --
# KEEP=1 leaves the cluster up.
KEEP ?=
# The cluster is taken down by whoever started it.
define with_cluster
if [ "$${CLUSTER:-}" = existing ] || $(cluster) status >/dev/null 2>&1; then started=; else started=1; fi
trap 'if [ -n "$$started" ] && [ -z "$(KEEP)" ]; then $(cluster) down; fi' EXIT
if [ "$${CLUSTER:-}" != existing ]; then $(cluster) up; fi
endef

.PHONY: help
help: ## Say what there is
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

.PHONY: demo
demo: ## Watch a dead leader being replaced, on a real cluster (KEEP=1 leaves it up)
	@$(with_cluster)
	$(CARGO) run -q -p leadergroup-e2e --bin demo

.PHONY: test
test: test-format test-lint test-generated test-unit test-harness test-elector test-faults test-e2e ## Everything below, in order
	@echo "make test: every layer passed"

.PHONY: test-format
test-format: ## The code is formatted
	$(CARGO) fmt --all --check

.PHONY: test-lint
test-lint: ## Clippy, warnings denied
	$(CARGO) clippy --workspace --all-targets -- -D warnings

.PHONY: test-generated
test-generated: ## crds/ is what the code says
	$(CARGO) run -q -p leadergroup-api | diff -u crds/leadergroups.yaml - || { echo "crds/ is out of date: run make generate" >&2; exit 1; }

.PHONY: test-unit
test-unit: ## Evidence tables, injected orders of events, random histories, the election protocol's models
	$(CARGO) test -p leadergroup-api -p leadergroup-election -p leadergroup-operator
	$(CARGO) test -p leadergroup-elector --doc

.PHONY: test-harness
test-harness: ## The test cluster's own tests
	$(CARGO) test -p leadergroup-cluster

.PHONY: test-elector
test-elector: ## The elector command as processes: what it runs, kills and answers
	@$(with_cluster)
	$(CARGO) test -p leadergroup-elector --lib --bins --tests

# FAULT_SCHEDULES says how many, FAULT_SEED plays one again.
.PHONY: test-faults
test-faults: ## Our elector under random faults of network, processes, API server and etcd: never two leaders
	@$(with_cluster)
	$(CARGO) test -p leadergroup-faults --lib --bins --test broken
	$(CARGO) test -p leadergroup-faults --test schedules

.PHONY: test-e2e
test-e2e: ## The API server's validation, and every row of the evidence table on a real kubelet
	@$(with_cluster)
	$(CARGO) test -p leadergroup-e2e --lib --bins
	# They wait more than they work, so more at a time than there are cores.
	$(CARGO) test -p leadergroup-e2e --test api --test evidence --test bad_input --test elector_library --test elector_samples \
		--test elector_run --test elector_serve --no-fail-fast -- --test-threads=6
	# These end the operator, or take its node away, so one test at a time.
	for serial in restart failover node_lost zz_least_rbac; do
		$(CARGO) test -p leadergroup-e2e --test "$$serial" -- --test-threads=1
	done

# BENCH chooses parts: operator, elector (or one of its parts, such as elector-takeover), faults, histories.
BENCH ?= histories operator elector faults
.PHONY: bench
bench: ## The figures: of the operator, of our elector beside others, and under faults (BENCH="elector" for a part)
	@$(with_cluster)
	parts=
	for part in $(BENCH); do
		case "$$part" in
		histories) ELECTION_HISTORIES=1000000 $(CARGO) test --release -p leadergroup-election --test simulation -- --nocapture ;;
		faults) FAULT_SCHEDULES=100 $(CARGO) test -p leadergroup-faults --test schedules ;;
		*) parts="$$parts $$part" ;;
		esac
	done
	if [ -n "$$parts" ]; then $(CARGO) run -q -p leadergroup-bench --$$parts; fi

.PHONY: binary
binary: ## Build the operator and the elector as static binaries, for the Dockerfiles in crates
	host=$$(rustc -vV | sed -n 's/^host: //p')
	export CARGO_TARGET_$$(tr a-z- A-Z_ <<<"$$host")_RUSTFLAGS="-C target-feature=+crt-static"
	$(CARGO) build --release -p leadergroup-operator --target "$$host"
	$(CARGO) build --profile small -p leadergroup-elector --bin elector --target "$$host"
	echo "the operator: target/$$host/release"
	echo "the elector: target/$$host/small"

.PHONY: generate
generate: ## Write crds/ from the code
	$(CARGO) run -q -p leadergroup-api > crds/leadergroups.yaml.new
	mv crds/leadergroups.yaml.new crds/leadergroups.yaml

.PHONY: cluster
cluster: ## Start a real cluster, or find the one that runs
	@$(cluster) up
	@$(cluster) candidate

.PHONY: cluster-down
cluster-down: ## End it, leaving nothing
	@$(cluster) down
