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
PYTEST_ARGS ?=
PYTHONS ?= 3.11 3.12 3.13
export PYTHON

.PHONY: help install serve dev test test-matrix test-tools check format bench docs lock clean
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

clean: ## Remove everything that make has made
	rm -rf .venv .venvs site dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage tests/live/node/node_modules
