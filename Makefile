# Every target does its own set-up: all it needs is Python 3.11-3.13, make and pip's configured index.
#   PYTHON=python3.12     the Python that .venv is made with
#   ACCELERATOR=cpu|gpu   the TensorFlow build; by default what .venv has, else gpu where nvidia-smi works
#   DATA= WORKDIR= ARGS=  see `make train`

PYTHON ?= python3
ACCELERATOR := $(or $(ACCELERATOR),$(patsubst .venv/packages-%,%,$(wildcard .venv/packages-*)),$(shell \
    nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu))
$(if $(filter cpu gpu,$(ACCELERATOR)),,$(error ACCELERATOR must be cpu or gpu, got $(ACCELERATOR)))

BIN := .venv/bin
# Wheels only: building from source would pull in build tools that no lock pins.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
INSTALL_LOCK := $(PIP_INSTALL) --require-hashes --only-binary :all: --requirement

# Empty files that say how far the set-up got; whoever changes a lock or pyproject.toml gets that part redone.
PACKAGES := .venv/packages-$(ACCELERATOR)
PROJECT := .venv/project
DEV := .venv/dev

.DEFAULT_GOAL := help
.PHONY: help setup train tensorboard test test-systems check lint format docs build audit lock clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

setup: $(PROJECT) ## Make .venv with the locked packages and the command .venv/bin/reeltrain
	@echo "Ready: $(BIN)/reeltrain"

$(PACKAGES): requirements/$(ACCELERATOR).txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || { \
	    echo "PYTHON must be Python 3.11, 3.12 or 3.13, got $(PYTHON) ($$($(PYTHON) -V 2>&1 | head -n 1))" >&2; exit 1; }
	@echo "Installing TensorFlow ($(ACCELERATOR)) and the other packages into .venv; the first time takes a minute or two."
	@# From an empty folder: the two TensorFlow builds overwrite each other's files.
	@$(PYTHON) -m venv --clear .venv
	@$(INSTALL_LOCK) $<
	@touch $@

$(PROJECT): $(PACKAGES) pyproject.toml
	@$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): $(PROJECT) requirements/dev.txt
	@echo "Installing the development tools into .venv."
	@$(INSTALL_LOCK) requirements/dev.txt
	@touch $@

train: $(PROJECT) ## Train and recommend: [DATA=path] [WORKDIR=runs/name] [ARGS="--set train.epochs=3"]
	@$(BIN)/reeltrain train $(if $(DATA),"$(DATA)") $(if $(WORKDIR),--workdir "$(WORKDIR)") $(ARGS)
	@$(BIN)/reeltrain recommend $(if $(WORKDIR),"$(WORKDIR)") -k 10

tensorboard: $(PROJECT) ## Show the curves of all runs: [WORKDIR=runs/name]
	@$(BIN)/tensorboard --logdir "$(or $(WORKDIR),runs)"

test: $(DEV) ## Run the tests and doctests: [ARGS="-k name"], [ARGS="-n0 -k name"] in one process
	@$(BIN)/pytest -n auto --dist worksteal -m "not system" $(ARGS)

test-systems: $(DEV) ## Run the tests of whole jobs: kills, signals, resuming, workers, installs
	@$(BIN)/pytest -n auto --dist worksteal -m system $(ARGS)

check: lint ## Check format, style, types, Dockerfile, doctests and fast tests, within a minute
	@$(BIN)/pytest -q -n auto --dist worksteal -m "not slow"

lint: $(DEV) ## Check format, style, types and the Dockerfile
	@$(BIN)/ruff format --quiet --check --output-format concise .
	@$(BIN)/ruff check --quiet --output-format concise .
	@$(BIN)/mypy
	@$(BIN)/hadolint docker/Dockerfile

format: $(DEV) ## Rewrite the sources in the project's format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: $(DEV) ## Build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

build: $(DEV) ## Make the source distribution and the wheel in dist/
	@# Without the list of files that an earlier build left.
	@rm -rf dist *.egg-info
	@$(BIN)/python -m build --no-isolation --quiet
	@ls dist/*

# Strict: a package that the database does not know must not pass unseen. Needs a network in which the database of
# known vulnerabilities can be reached; elsewhere it fails with one line.
audit: $(DEV) ## Look the locked packages up in the database of known vulnerabilities
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	$(BIN)/pip-audit --strict --disable-pip --require-hashes --progress-spinner off \
	    $(LOCKS:%=--requirement requirements/%.txt) 2>"$$log" \
	    && echo "audit: no known vulnerability" || { echo "audit: $$(tail -n 1 "$$log" | cut -c 1-200)" >&2; exit 1; }

# One resolution of everything comes first and each lock is cut from it, so that all locks hold the same versions;
# `fewest` takes one version for all Pythons. The present pins stay where they fit, unless UPGRADE=1.
LOCKS := cpu gpu dev
COMPILE := uv pip compile pyproject.toml --universal --python-version 3.11 --fork-strategy fewest \
    --generate-hashes --custom-compile-command 'make lock' --quiet

lock: ## Lock the packages anew from pyproject.toml: [UPGRADE=1 for the newest of each]
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	$(PYTHON) -m venv "$$folder/venv"; PATH="$$folder/venv/bin:$$PATH"; \
	pip install --quiet --disable-pip-version-check uv; \
	cat $(wildcard $(LOCKS:%=requirements/%.txt)) /dev/null > "$$folder/all.txt"; \
	$(COMPILE) $(if $(UPGRADE),--upgrade) $(LOCKS:%=--extra %) --output-file "$$folder/all.txt"; \
	for lock in $(LOCKS); do \
	    cp "$$folder/all.txt" "$$folder/$$lock.txt"; \
	    $(COMPILE) --extra $$lock --output-file "$$folder/$$lock.txt"; \
	done; \
	cp $(LOCKS:%="$$folder/%.txt") requirements/

clean: ## Delete .venv and all caches; runs/ stays
	@rm -rf .venv build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -prune -exec rm -rf {} +
