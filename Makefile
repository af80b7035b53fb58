# Everything a developer or an operator types. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMPS := $(VENV)/.stamps
PIP    := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet

# Arguments for the command that a target runs: make demo ARGS="--port 8099"
ARGS ?=
# Test processes at once.
WORKERS ?= 2
# The tests that reach the rules and the store.
COVERING := $(addprefix tests/,domain store management jobs payments chain cli gateway dashboard)

.PHONY: help install setup-test screenshots demo check format test coverage test-crash bench-store bench-dashboard bench-chain lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

install: $(STAMPS)/product ## Create .venv with the product in it (.venv/bin/tokenbooth)

setup-test: $(STAMPS)/dev $(STAMPS)/browser $(STAMPS)/clients $(STAMPS)/chain ## Install what tests and checks need

screenshots: setup-test ## Take the pictures of the dashboard anew: docs/images; all of them: ARGS="--all DIR"
	@$(BIN)/python scripts/screenshots $(ARGS)

demo: install ## Run everything on this machine: make demo ARGS="--port 8099"
	@exec $(BIN)/tokenbooth demo $(ARGS)

check: setup-test ## Formatting, lint, types and import rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: setup-test ## Format the code and apply safe lint fixes
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

test: setup-test ## Run the tests: make test ARGS="-k admission"
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

coverage: setup-test ## Fail for any branch of domain/ and store/ that no test takes; takes many minutes
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(COVERING) $(ARGS) \
		--cov=src/tokenbooth/domain --cov=src/tokenbooth/store --cov-branch --cov-report=
	@$(BIN)/coverage report --include='src/tokenbooth/domain/*,src/tokenbooth/store/*' \
		--show-missing --skip-covered --fail-under=100

test-crash: setup-test ## Kill the service twenty times on each engine, under load
	@TOKENBOOTH_TEST_KILLS=20 $(BIN)/python -m pytest tests/crash --timeout 900

bench-store: setup-test ## Settlements a second per engine: make bench-store ARGS="--rows 10000000"
	@$(BIN)/python bench/store.py $(ARGS)

bench-dashboard: setup-test ## Time every page with 1,000 keys and a million requests
	@$(BIN)/python -m bench.dashboard $(ARGS)

bench-chain: setup-test ## Blocks scanned a second, with 10,000 addresses: make bench-chain ARGS="--blocks 50000"
	@PYTHONPATH=. $(BIN)/python bench/chain.py $(ARGS)

lock: ## Resolve the dependencies anew and write the lock files
	@scripts/lock

clean: ## Remove the virtual environment and everything generated
	rm -rf $(VENV) build dist src/*.egg-info htmlcov .coverage .coverage.* coverage.xml
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests -type d -name __pycache__ -prune -exec rm -rf {} +

# The stamps make a repeated install free: pip runs only after the lock or pyproject.toml changed.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tokenbooth needs Python 3.11 or newer")'
	@$(PYTHON) -m venv $(VENV)

$(STAMPS)/product: requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing Tokenbooth into $(VENV)"
	@$(PIP) install --requirement requirements.lock
	@$(PIP) install --no-deps --editable .
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/dev: requirements-dev.lock $(STAMPS)/product
	@echo "Installing what tests and checks need into $(VENV)"
	@$(PIP) install --requirement requirements-dev.lock
	@mkdir -p $(STAMPS) && touch $@

# The browser comes from Debian; without root it has to be there already.
$(STAMPS)/browser: tests/browser/package.json | $(BIN)/python
	@if [ ! -x /usr/bin/chromium ] && [ "$$(id -u)" = 0 ]; then \
	  echo "Installing Chromium for the browser tests"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; \
	fi
	@cd tests/browser && npm install --silent --no-audit --no-fund
	@mkdir -p $(STAMPS) && touch $@

# Clients that cannot share an environment with the newest SDKs, and Node's where Node is.
$(STAMPS)/clients: tests/clients/requirements.txt tests/clients/node/package.json $(STAMPS)/product
	@echo "Installing the clients that tests run into $(VENV)/clients"
	@$(PYTHON) -m venv $(VENV)/clients
	@$(VENV)/clients/bin/python -m pip --disable-pip-version-check --no-input --quiet install \
		--requirement tests/clients/requirements.txt
	@! command -v npm >/dev/null || npm install --prefix tests/clients/node --no-package-lock --no-audit --no-fund --silent
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/chain: tests/chain/package.json | $(BIN)/python
	@echo "Installing the tests' chain into tests/chain/node_modules"
	@npm install --prefix tests/chain --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error
	@mkdir -p $(STAMPS) && touch $@
