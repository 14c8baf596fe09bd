# penstock's workshop. `make help` lists what it can do; CONTRIBUTING.md explains.
# Every environment is made from a hashed lock file in requirements/ and made again only when that file changes.

SHELL := /bin/sh
VENV := .venv
PY := $(VENV)/bin/python
# The project and the packages that build it, then nothing more: all else stands in a lock.
PIP := -m pip --disable-pip-version-check --no-input install -qq
LOCKED := $(PIP) --require-hashes --no-deps
PROJECT := $(PIP) --no-deps --no-build-isolation --editable .
# Flags for one run, as in: make serve ARGS="--port 9000" and make test PYTEST_ARGS="-n 2 -k resume"
ARGS ?=
# Tests wait for sockets and programs about a third of their time, so there are half as many workers again as cores. Some
# folders take a hundred times as long as others: whoever has done its share takes of what another has left.
WORKERS := $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); echo $$((n + (n + 1) / 2)))
PYTEST_ARGS ?= -n $(WORKERS) --dist worksteal
PYTHONS ?= 3.11 3.12 3.13
export PYTHON

.PHONY: help install serve dev test test-clients test-matrix test-tools check format chaos bench bench-peers docs lock clean
.DEFAULT_GOAL := help

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1@\2/p' Makefile | awk -F@ '{printf "%-20s %s\n", $$1, $$2}'

install: $(VENV)/.core ## Put penstock and what it runs on into .venv

serve: install ## Run the server (ARGS="--port 9000" passes flags)
	@$(VENV)/bin/penstock serve $(ARGS)

dev: $(VENV)/.dev ## Add the tools to test and check with to .venv

$(VENV)/bin/python:
	@python=$$(scripts/find-python) && echo "making $(VENV) with $$python" && "$$python" -m venv --clear $(VENV)

$(VENV)/.core: requirements/core.lock requirements/build.lock pyproject.toml | $(VENV)/bin/python
	@echo "installing penstock into $(VENV)"
	@$(PY) $(LOCKED) -r requirements/core.lock -r requirements/build.lock
	@$(PY) $(PROJECT)
	@touch $@

$(VENV)/.dev: requirements/dev.lock $(VENV)/.core
	@echo "installing the development tools into $(VENV)"
	@$(PY) $(LOCKED) -r requirements/dev.lock
	@touch $@

# What the tests need beside .venv: environments whose pins clash with it, the Node clients, programs of the system.
SIDE := $(patsubst %,.venvs/%/.ready,openai2 terminal litellm llama fuzz autobahn)
# Clients that take long to install and to import, which is why they have a run of their own.
HEAVY := $(patsubst %,.venvs/%/.ready,langchain llamaindex aider)
NODE := tests/live/node
NODE_READY := $(NODE)/node_modules/.package-lock.json

.venvs/%/.ready: requirements/%.lock
	@echo "making $(@D)"
	@python=$$(scripts/find-python) && "$$python" -m venv --clear $(@D)
	@$(@D)/bin/python $(LOCKED) -r $<
	@touch $@

# What aider is pinned to has no wheels for Python 3.13 yet.
.venvs/aider/.ready: requirements/aider.lock
	@python=$$(scripts/find-python 3.12 2>/dev/null || scripts/find-python 3.11) && echo "making $(@D) with $$python" && \
	    "$$python" -m venv --clear $(@D)
	@$(@D)/bin/python $(LOCKED) -r $<
	@touch $@

# Python 2.7 has no venv, and hardly a machine has Python 2.7: without one the tests with Autobahn are skipped.
.venvs/autobahn/.ready: requirements/autobahn27.txt
	@python=$$(scripts/find-python2) || exit 0; echo "making $(@D) with $$python" && \
	    "$$python" -m pip install -qq --disable-pip-version-check --no-deps --require-hashes --target $(@D) -r $< 2>/dev/null && \
	    echo "$$python" > $(@D)/python && touch $@

.venvs/litellm/.ready: requirements/litellm.lock requirements/build.lock pyproject.toml
	@echo "making $(@D)"
	@python=$$(scripts/find-python) && "$$python" -m venv $(@D)
	@$(@D)/bin/python $(LOCKED) -r requirements/litellm.lock -r requirements/build.lock
	@$(@D)/bin/python $(PROJECT)
	@touch $@

.venvs/py%/.ready: requirements/test.lock pyproject.toml
	@python=$$(scripts/find-python $*) && echo "making $(@D) with $$python" && "$$python" -m venv $(@D)
	@$(@D)/bin/python $(LOCKED) -r requirements/test.lock
	@$(@D)/bin/python $(PROJECT)
	@touch $@

$(NODE_READY): $(NODE)/package.json $(NODE)/package-lock.json
	@if command -v npm >/dev/null; then npm ci --prefix $(NODE) --ignore-scripts --no-audit --no-fund --loglevel=error && touch $@; \
	else echo "no npm: the tests with Node clients will be skipped"; fi

# A tool that cannot be had here is no error: its tests are skipped by name, or fail the session where that was asked for.
test-tools: dev ## Bring what the tests need beyond .venv, where this machine allows it
	@$(PY) -m tests.tools
	-@$(MAKE) --silent --no-print-directory --keep-going $(SIDE) $(NODE_READY)

# Tests start hundreds of servers, each of which would otherwise compile penstock anew.
test test-matrix test-clients chaos: export PYTHONDONTWRITEBYTECODE :=

test: test-tools ## Run every test (PYTEST_ARGS="-k resume" passes flags)
	@$(PY) -m pytest $(PYTEST_ARGS)

test-matrix: $(PYTHONS:%=.venvs/py%/.ready) ## Run units and laws on each of PYTHONS
	@for version in $(PYTHONS); do \
	    echo "Python $$version"; \
	    .venvs/py$$version/bin/python -m pytest -q --ignore=tests/live --ignore=tests/browser --ignore=tests/clients \
	        $(PYTEST_ARGS) || exit 1; \
	done

test-clients: test-tools ## Run the clients that are frameworks: langchain with its standard tests, llama-index, litellm, aider
	-@$(MAKE) --silent --no-print-directory --keep-going $(HEAVY)
	@$(PY) -m pytest $(PYTEST_ARGS) tests/frameworks

chaos: dev ## Run the laws with many more examples, a thousand cuts, and the soak for ten minutes
	@HYPOTHESIS_PROFILE=chaos $(PY) -m pytest tests/laws tests/faults/test_soak.py tests/faults/test_upstream.py tests/faults/test_cut_run.py --timeout=0 -n auto

check: dev ## Lint, check formatting and types, keep the rooms apart
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(PY) -m pytest -q tests/test_import_rule.py

format: dev ## Format the code and mend what ruff can mend by itself
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

bench: dev ## Measure throughput, latency and memory (ARGS passes flags)
	@$(PY) -m benchmarks $(ARGS)

# The other gateways keep the CPU busy for a minute per scenario where they cannot keep up, so one round is the default.
bench-peers: dev ## Measure the other gateways beside penstock (ARGS passes flags)
	@benchmarks/peers/install
	@$(PY) -m benchmarks --peers benchmarks/peers/peers.toml --rounds 1 $(ARGS)

docs: .venvs/docs/.ready ## Build the documentation into site/
	@.venvs/docs/bin/zensical build --clean --strict

# uv is needed for this alone: it resolves for every platform and Python at once.
.venvs/lock/bin/uv:
	@python=$$(scripts/find-python) && "$$python" -m venv --clear .venvs/lock
	@.venvs/lock/bin/python $(PIP) 'uv>=0.13'

lock: .venvs/lock/bin/uv ## Resolve the dependencies anew into requirements/*.lock
	@scripts/lock .venvs/lock/bin/uv --upgrade

clean: ## Remove everything that make has made
	rm -rf .venv .venvs site dist build benchmarks/build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage tests/live/node/node_modules
