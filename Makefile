# What a person calls. Everything that takes long says what it does.
SHELL := /bin/bash
.DEFAULT_GOAL := help
CARGO ?= cargo

.PHONY: help build up cluster cluster-down test check fix audit bench soak mutants clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

build: ## the release binaries: target/release/mainstay, mainstay-agent, mainstay-coordinator
	$(CARGO) build --release --locked -p mainstay -p mainstay-agent -p mainstay-coordinator

up: build ## a whole mesh on this machine, the daily plan, its report; ONCE=1 ends after the report
	@target/release/mainstay up $(if $(ONCE),--once daily) $(ARGS)

cluster: ## a real Kubernetes cluster of two nodes in namespaces of its own; CLUSTER=b a second one, KWOK=100 simulated nodes
	@tests/kubernetes/up $(or $(CLUSTER),a) $(or $(KWOK),0)

cluster-down: ## ends it and leaves nothing behind; CLUSTER=b the second one
	@tests/kubernetes/down $(or $(CLUSTER),a)

test: ## installs what the tests need and runs all of them; SUITE=mesh runs one
	@tests/run $(SUITE)

check: ## format, lints, licences and bans; changes nothing
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	@tests/mutants --check
	@# Dependencies of all platforms are looked at, and a build fetches those of its own only.
	@$(CARGO) fetch --locked --quiet
	@tests/tool cargo-deny 0.20.2 && "$$(tests/tool --where cargo-deny 0.20.2)" --offline check bans licenses sources

fix: ## format, and the lints that can mend themselves
	$(CARGO) fmt --all
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty --allow-staged

audit: ## known vulnerabilities of dependencies; needs the network
	@tests/tool cargo-deny 0.20.2 && "$$(tests/tool --where cargo-deny 0.20.2)" check advisories

bench: build ## measures and replaces rows of bench/results.json; ONLY=agent for one area, ONLY=lease.held for a part
	$(CARGO) run --release --locked -p mainstay-bench -- $(ONLY)

soak: ## the simulated mesh with many more seeds: of whole programs SEEDS, of the core a thousand times as many; FAULTS seeds in a cluster, no API server for OUTAGE seconds, and every phase of a transition
	MAINSTAY_SEEDS=$(or $(SEEDS),400) $(CARGO) test --workspace --test whole nothing_breaks -- --nocapture
	MAINSTAY_SEEDS=$(or $(SEEDS),400)000 $(CARGO) test --release -p mainstay-core --test simulation -- --nocapture
	tests/kubernetes/needs && $(CARGO) build --workspace --locked --bins --tests && MAINSTAY_SEEDS=$(or $(FAULTS),20) \
	  MAINSTAY_OUTAGE=$(or $(OUTAGE),60) $(CARGO) test --workspace --locked --test kubernetes -- --nocapture \
	  the_daily_plan_finds the_mesh_knows_each_node && MAINSTAY_PHASES=all $(CARGO) test --workspace --locked --test kubernetes -- --nocapture phases::

mutants: ## known bugs put into copies of the tree, each to be found by the simulation
	@tests/mutants

clean: ## what was built, and the mesh of this folder
	$(CARGO) clean
	rm -rf .mainstay
