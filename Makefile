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
# The tests of the rules and of the store, on both engines: they alone reach every branch of these.
COVERING := tests/unit/domain tests/unit/store

# What the compiled wheel is made of.
SOURCES := $(shell find src -name '*.py')
# The tests of what is compiled.
COMPILED := tests/unit/domain tests/unit/gateway tests/system/gateway tests/unit/test_compiled.py tests/unit/http/test_connection.py tests/unit/kit/test_ids.py tests/unit/kit/test_places.py

.PHONY: help install setup-test screenshots demo check format test coverage test-compiled compile install-compiled test-crash bench-instructions bench-loop bench-store bench-settle bench-shares bench-dashboard bench-chain lock clean fuzz bench test-engines soak

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

install: $(STAMPS)/product ## Create .venv with the product in it (.venv/bin/tokenbooth)

install-compiled: $(BIN)/python ## As install, but compiled: less CPU for each request; needs a C compiler and a minute or two
	@$(PIP) install --requirement requirements.lock
	@rm -f $(STAMPS)/product $(STAMPS)/dev
	@HATCH_BUILD_HOOKS_ENABLE=1 $(PIP) install --no-deps --force-reinstall .

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

coverage: setup-test ## Fail for any branch of domain/ and store/ that no test takes
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(COVERING) $(ARGS) \
		--cov=src/tokenbooth/domain --cov=src/tokenbooth/store --cov-branch --cov-report=
	@$(BIN)/coverage report --include='src/tokenbooth/domain/*,src/tokenbooth/store/*' \
		--show-missing --skip-covered --fail-under=100

compile: $(STAMPS)/compiled ## Compile into .venv/compiled, beside what is installed

test-compiled: setup-test $(STAMPS)/compiled ## Run the tests of the data plane against the compiled modules
	@PYTHONPATH=$(CURDIR)/$(VENV)/compiled TOKENBOOTH_TEST_COMPILED=1 \
	  $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(COMPILED) $(ARGS)

test-crash: setup-test ## Kill the service twenty times on each engine, under load
	@TOKENBOOTH_TEST_KILLS=20 $(BIN)/python -m pytest tests/system/crash --timeout 900

fuzz: setup-test $(STAMPS)/fuzz ## Fuzz what reads strangers' bytes: make fuzz ARGS="--minutes 10 --target streams"
	@$(BIN)/python -m fuzz $(ARGS)

bench: $(STAMPS)/dev $(STAMPS)/compiled $(STAMPS)/bench-tools $(STAMPS)/peers ## Tokenbooth beside other gateways: make bench ARGS=--quick
	@$(BIN)/python -m bench.gateway $(ARGS)

bench-instructions: $(STAMPS)/dev $(STAMPS)/compiled $(STAMPS)/valgrind ## Instructions per request: make bench-instructions ARGS="--src ../before/src --src src"
	@$(BIN)/python -m bench.gateway.instructions $(ARGS)

bench-loop: setup-test ## How long hostile bodies hold the event loop, and their memory: make bench-loop ARGS="--only numbers"
	@$(BIN)/python -m bench.loop $(ARGS)

bench-store: setup-test ## Settlements a second per engine: make bench-store ARGS="--rows 10000000"
	@$(BIN)/python bench/store.py $(ARGS)

bench-settle: setup-test ## CPU time of a settled request, on the loop and in the flusher
	@$(BIN)/python -m bench.settle $(ARGS)

bench-shares: setup-test ## One account's latency while another one floods: make bench-shares ARGS="--most 10000"
	@$(BIN)/python -m bench.shares $(ARGS)

test-engines: setup-test $(STAMPS)/engines ## Run inference engines of other makes behind the gateway; builds one of them, for minutes
	@$(BIN)/python -m pytest tests/system/engines/matrix.py --timeout 300 $(ARGS)

soak: setup-test ## A million calls, idle streams, unknown keys, hostile sockets: make soak ARGS="--only streams"
	@PYTHONPATH=. $(BIN)/python -m bench.soak $(ARGS)

bench-dashboard: setup-test ## Time every page with 1,000 keys and a million requests
	@$(BIN)/python -m bench.dashboard $(ARGS)

bench-chain: setup-test ## Blocks scanned a second, with 10,000 addresses: make bench-chain ARGS="--blocks 50000"
	@PYTHONPATH=. $(BIN)/python bench/chain.py $(ARGS)

lock: ## Resolve the dependencies anew and write the lock files
	@scripts/lock

clean: ## Remove the virtual environment and everything generated
	rm -rf $(VENV) build dist src/*.egg-info htmlcov .coverage .coverage.* coverage.xml
	rm -rf .fuzz .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
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

$(STAMPS)/compiled: hatch_build.py pyproject.toml $(SOURCES) | $(STAMPS)/dev
	@echo "Compiling the data plane into $(VENV)/compiled"
	@rm -rf $(VENV)/compiled $(VENV)/wheel
	@HATCH_BUILD_HOOKS_ENABLE=1 $(PIP) wheel --no-deps --no-build-isolation --wheel-dir $(VENV)/wheel .
	@$(PIP) install --no-deps --target $(VENV)/compiled $(VENV)/wheel/*.whl
	@mkdir -p $(STAMPS) && touch $@

# The browser comes from Debian; without root it has to be there already.
$(STAMPS)/browser: tests/system/browser/package.json | $(BIN)/python
	@if [ ! -x /usr/bin/chromium ] && [ "$$(id -u)" = 0 ]; then \
	  echo "Installing Chromium for the browser tests"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; \
	fi
	@cd tests/system/browser && npm install --silent --no-audit --no-fund
	@mkdir -p $(STAMPS) && touch $@

# nginx and the load generator come from Debian; without root they have to be there already.
$(STAMPS)/bench-tools: | $(BIN)/python
	@if [ "$$(id -u)" = 0 ] && ! { [ -x /usr/sbin/nginx ] && [ -x /usr/bin/h2load ]; }; then \
	  echo "Installing nginx and h2load for the benchmark"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nginx-light nghttp2-client; \
	fi
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/valgrind: | $(BIN)/python
	@if [ "$$(id -u)" = 0 ] && [ ! -x /usr/bin/valgrind ]; then \
	  echo "Installing valgrind"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends valgrind; \
	fi
	@mkdir -p $(STAMPS) && touch $@

# Each gateway that is measured beside ours in an environment of its own. One that does not install is left out.
$(STAMPS)/peers: $(wildcard bench/peers/*.txt) bench/peers/package.json | $(BIN)/python
	@for list in bench/peers/*.txt; do \
	  peer=$(VENV)/peers/$$(basename $$list .txt); \
	  echo "Installing $$list into $$peer"; \
	  { $(PYTHON) -m venv $$peer && $$peer/bin/python -m pip --disable-pip-version-check --no-input --quiet install \
	    --requirement $$list; } || { echo "$$list does not install: left out"; rm -rf $$peer; }; \
	done
	@rm -rf $(VENV)/peers/node && mkdir -p $(VENV)/peers/node && cp bench/peers/package.json $(VENV)/peers/node/
	@npm install --prefix $(VENV)/peers/node --no-package-lock --ignore-scripts --no-audit --no-fund --silent \
	  || echo "bench/peers/package.json does not install: left out"
	@mkdir -p $(STAMPS) && touch $@

# Clients that cannot share an environment with the newest SDKs, and Node's where Node is.
$(STAMPS)/clients: tests/system/clients/requirements.txt tests/system/clients/node/package.json $(STAMPS)/product
	@echo "Installing the clients that tests run into $(VENV)/clients"
	@$(PYTHON) -m venv $(VENV)/clients
	@$(VENV)/clients/bin/python -m pip --disable-pip-version-check --no-input --quiet install \
		--requirement tests/system/clients/requirements.txt
	@! command -v npm >/dev/null || npm install --prefix tests/system/clients/node --no-package-lock --no-audit --no-fund --silent
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/fuzz: fuzz/requirements.txt | $(BIN)/python
	@echo "Installing the fuzzing engine into $(VENV)"
	@$(PIP) install --requirement fuzz/requirements.txt
	@mkdir -p $(STAMPS) && touch $@

# Engines neither share an environment with the product nor with what `make setup-test` installs.
$(STAMPS)/engines: tests/system/engines/requirements.txt | $(BIN)/python
	@echo "Installing inference engines into $(VENV)/engines; the oldest is built from its source"
	@$(PYTHON) -m venv $(VENV)/engines
	@CMAKE_ARGS="-DLLAVA_BUILD=OFF -DLLAMA_NATIVE=OFF" $(VENV)/engines/bin/python -m pip --disable-pip-version-check \
		--no-input --quiet install --requirement tests/system/engines/requirements.txt
	@mkdir -p $(STAMPS) && touch $@

# The compiler of the contracts wants older libraries than the product runs with.
$(STAMPS)/chain: tests/system/usdc/package.json tests/system/usdc/requirements.txt | $(BIN)/python
	@echo "Installing the tests' chain into tests/system/usdc/node_modules, and its compiler into $(VENV)/chain"
	@npm install --prefix tests/system/usdc --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error
	@$(PYTHON) -m venv $(VENV)/chain
	@$(VENV)/chain/bin/python -m pip --disable-pip-version-check --no-input --quiet install \
		--requirement tests/system/usdc/requirements.txt
	@mkdir -p $(STAMPS) && touch $@
