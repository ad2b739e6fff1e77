# `make demo` shows the main job on a real cluster; `make test` proves it. Both build or install what they need, given
# Rust, Go and Debian's packages. CLUSTER=existing with KUBECONFIG uses a cluster of yours instead of starting one.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

CARGO ?= cargo
# All of the workspace at once, whatever is wanted of it: another selection would have its dependencies built with other
# features, and so once more.
test := $(CARGO) test --workspace
target := $(or $(CARGO_TARGET_DIR),target)
cluster := $(target)/debug/cluster
# A package's test programs.
tests_of = $(basename $(notdir $(wildcard $(1)/tests/*.rs))) $(notdir $(patsubst %/main.rs,%,$(wildcard $(1)/tests/*/main.rs)))
these = $(addprefix --test=,$(1))
# Programs that cargo installs for the tests.
tools := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/leadergroup/tools
CARGO_DENY := 0.20.2
# KEEP=1 leaves the cluster up.
KEEP ?=
# The cluster is taken down by whoever started it.
define with_cluster
$(test) -q --no-run --test lifecycle
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
	$(test) -q --no-run --test node_lost
	$(target)/debug/demo

.PHONY: test
test: test-format test-lint test-deny test-generated test-install test-unit test-otel test-harness test-elector test-plugin test-faults test-e2e test-interop ## Everything below, in order
	@echo "make test: every layer passed"

.PHONY: test-format
test-format: ## The code is formatted
	$(CARGO) fmt --all --check

.PHONY: test-lint
test-lint: ## Clippy, warnings denied
	$(CARGO) clippy --workspace --all-targets -- -D warnings

.PHONY: test-deny
test-deny: ## The dependencies: advisories, licences, where they come from
	@deny=$(tools)/cargo-deny-$(CARGO_DENY)/bin/cargo-deny
	if [ ! -x "$$deny" ]; then
		$(CARGO) install -q --locked --debug cargo-deny --version $(CARGO_DENY) --root "$(tools)/cargo-deny-$(CARGO_DENY)"
	fi
	$$deny --locked check bans licenses sources
	# A database that can't be had is nobody's fault, and one that was had long ago tells little; what it holds against a
	# dependency is an error. Fetched once, and then judged offline: a network that fails meanwhile is no finding.
	if GIT_TERMINAL_PROMPT=0 timeout 60 $$deny --locked fetch db index; then
		$$deny --locked --offline check advisories
	else
		echo "NOT CHECKED: advisories and yanked versions, because the advisory database or the registry's index could not be" \
			"fetched (see above)" >&2
	fi

.PHONY: test-generated
test-generated: ## crds/ is what the code says
	$(test) --test generated

# kubectl and Helm are built for it, no cluster is.
.PHONY: test-install
test-install: ## What the operator is installed from: the chart, the kustomizations, the workflows
	$(test) --test manifests
	$(test) -q --no-run --test lifecycle
	actionlint=$$($(cluster) program actionlint)
	# Without the shell's own linter, which Debian has in several versions.
	$$actionlint -shellcheck= -pyflakes=

# HISTORIES is the number of random histories, and HISTORIES_SEED chooses others.
HISTORIES ?= 10000
.PHONY: test-unit
test-unit: ## Evidence tables, injected orders of events, random histories, the election protocol's models
	export HISTORIES=$(HISTORIES)
	$(test) --lib --bins $(call these,$(call tests_of,crates/election)) $(call these,$(filter-out traces,$(call tests_of,crates/operator)))
	$(test) --doc

# The feature is off elsewhere. For it kube is compiled once more, but not what kube is built on.
otel := --workspace --features leadergroup-operator/otel
.PHONY: test-otel
test-otel: ## The operator's traces, with the feature `otel`: lints, and what a collector is sent
	$(CARGO) clippy $(otel) --bin leadergroup-operator --test traces -- -D warnings
	$(CARGO) test $(otel) --test traces

.PHONY: test-harness
test-harness: ## The test cluster's own tests
	$(test) $(call these,$(call tests_of,tests/cluster))

.PHONY: test-elector
test-elector: ## The elector command as processes: what it runs, kills and answers
	@$(with_cluster)
	$(test) $(call these,$(call tests_of,crates/elector))

.PHONY: test-plugin
test-plugin: ## The kubectl plugin as a process: its dashboard in a real browser
	@$(with_cluster)
	$(test) $(call these,$(call tests_of,crates/kubectl-leadergroup))

# FAULT_SCHEDULES says how many, FAULT_SEED plays one again.
.PHONY: test-faults
test-faults: ## Our elector under random faults of network, processes, API server and etcd: never two leaders
	@$(with_cluster)
	$(test) --test broken
	$(test) --test schedules

.PHONY: test-interop
test-interop: ## One takeover of each client: other people's election libraries, installed by their package managers
	@$(with_cluster)
	$(test) $(call these,$(call tests_of,tests/interop))

# These end the operator, or take its node away, so one test at a time; the last looks at what all the others did.
serial := restart failover audit node_lost runtime_lost install zz_least_rbac
.PHONY: test-e2e
test-e2e: ## The API server's validation, and every row of the evidence table on a real kubelet
	@$(with_cluster)
	# They wait more than they work, so more at a time than there are cores.
	$(test) --no-fail-fast $(call these,$(filter-out manifests $(serial),$(call tests_of,tests/e2e))) -- --test-threads=8
	for serial in $(serial); do
		$(test) --test "$$serial" -- --test-threads=1
	done

# CHECK=1 compares with the README's matrix instead of writing it.
CHECK ?=
.PHONY: interop
interop: ## Play the whole matrix of other people's election libraries, and write it into the README
	@$(with_cluster)
	$(test) -q --no-run --test interop
	$(target)/debug/interop $(if $(CHECK),--check)

# BENCH chooses parts: operator, elector (or one of theirs, such as elector-takeover), faults, histories, mutants, model,
# deaths. ACCOUNT_DEPTH is how many steps in a row the model takes.
BENCH ?= histories operator elector faults
.PHONY: bench
bench: ## The figures: of the operator, of our elector beside others, and under faults (BENCH="elector" for a part)
	@$(with_cluster)
	parts=
	for part in $(BENCH); do
		case "$$part" in
		histories)
			ELECTION_HISTORIES=1000000 $(CARGO) test --release -p leadergroup-election --test simulation -- --nocapture
			HISTORIES=1000000 $(CARGO) test --release -p leadergroup-operator --test histories -- --ignored --nocapture first_violation_of_all_lies ;;
		mutants) $(CARGO) test -p leadergroup-operator --test mutants -- --ignored --nocapture histories_until_caught ;;
		deaths) DEATHS=$${DEATHS:-1000} $(test) --test deaths -- --ignored --nocapture ;;
		model)
			ACCOUNT_DEPTH=$${ACCOUNT_DEPTH:-7} $(CARGO) test --release -p leadergroup-operator --test account_model -- --nocapture --test-threads=1 ;;
		faults) FAULT_SCHEDULES=100 $(test) --test schedules ;;
		*) parts="$$parts $$part" ;;
		esac
	done
	# Optimized, so that it leaves the machine to what it measures.
	if [ -n "$$parts" ]; then $(CARGO) run -q --release -p leadergroup-bench --$$parts; fi

.PHONY: binary
binary: ## Build the operator and the elector as static binaries, for the Dockerfiles in crates
	host=$$(rustc -vV | sed -n 's/^host: //p')
	export CARGO_TARGET_$$(tr a-z- A-Z_ <<<"$$host")_RUSTFLAGS="-C target-feature=+crt-static"
	$(CARGO) build --release -p leadergroup-operator --target "$$host"
	$(CARGO) build --profile small -p leadergroup-elector --bin elector --target "$$host"
	echo "the operator: target/$$host/release"
	echo "the elector: target/$$host/small"

# IMAGE names the operator's image, with its tag or digest.
IMAGE ?= $(shell sed -n 's/^  newName: //p' config/operator/kustomization.yaml):$(shell sed -n 's/^  newTag: //p' config/operator/kustomization.yaml)
manifests := $(target)/manifests
.PHONY: manifests
manifests: ## Write what installs the operator, in one file, and the chart's archive (IMAGE=YOUR/operator:TAG)
	$(test) -q --no-run --test lifecycle
	mkdir -p $(manifests)
	kubectl=$$($(cluster) program kubectl)
	helm=$$($(cluster) program helm)
	$$kubectl kustomize config/default | sed 's|^\( *image: \).*leadergroup-operator:.*|\1$(IMAGE)|' >$(manifests)/leadergroup.yaml
	$$helm package --destination $(manifests) config/chart/leadergroup
	ls $(manifests)

.PHONY: generate
generate: ## Write crds/ and README's tables of metrics and alerts from the code
	$(CARGO) run -q -p leadergroup-api > crds/leadergroups.yaml.new
	mv crds/leadergroups.yaml.new crds/leadergroups.yaml
	WRITE_README=1 $(test) -q --test metrics --test alerts the_readme_has_the_table

.PHONY: cluster
cluster: ## Start a real cluster, or find the one that runs
	@$(test) -q --no-run --test lifecycle
	$(cluster) up
	$(cluster) candidate

.PHONY: cluster-down
cluster-down: ## End it, leaving nothing
	@$(test) -q --no-run --test lifecycle
	$(cluster) down
