# The developer manual: `make help`. Every target sets up what it needs; a second run does only what changed.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
# On a Linux machine without GPU the default build of torch brings gigabytes of CUDA. Name an index of CPU builds to avoid it:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
TORCH := torch==2.13.0 $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
# What the tests and the demo download is kept here; CI may point it at a cache.
export LLMOS_TEST_CACHE ?= $(CURDIR)/.downloads/test-assets

RUN_STAMP := $(VENV)/.run-installed
DEV_STAMP := $(VENV)/.dev-installed
NODE_DIR  := tests/conformance/node
# Tests that look at results only and not at times: two processes run them.
SIDE_BY_SIDE := tests/data tests/safety tests/text/nlp

.PHONY: help demo test check lint types unit docs docs-serve conformance fuzz bench promises lock schema clean system

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/pyvenv.cfg:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing. Install it (Debian: apt-get install python3.11 python3.11-venv) or say make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): $(VENV)/pyvenv.cfg requirements/run.lock pyproject.toml
	$(PIP) install -q $(TORCH)
	$(PIP) install -q --no-deps --require-hashes -r requirements/run.lock
	$(PIP) install -q --no-deps -e .
	@touch $@

$(DEV_STAMP): $(RUN_STAMP) requirements/dev.lock
	$(PIP) install -q --no-deps --require-hashes -r requirements/dev.lock
	@touch $@

demo: $(RUN_STAMP) ## Set up and run the main job: get a model, write with it, classify, translate (first time: minutes)
	@$(BIN)/python examples/demo.py

test: check docs ## Set up and pass everything CI passes: lint, types, layers, tests, conformance, docs

check: lint types unit

lint: $(DEV_STAMP) ## Formatting, lint rules, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(DEV_STAMP) ## mypy --strict
	$(BIN)/mypy

unit: $(DEV_STAMP) system $(NODE_DIR)/node_modules/.stamp ## All tests, conformance suites included
	$(BIN)/pytest -n 2 --dist loadfile $(SIDE_BY_SIDE)
	$(BIN)/pytest $(addprefix --ignore=,$(SIDE_BY_SIDE))

conformance: $(DEV_STAMP) $(NODE_DIR)/node_modules/.stamp ## Only the suites with the stock OpenAI clients and the evaluation harness
	$(BIN)/pytest tests/conformance

$(NODE_DIR)/node_modules/.stamp: $(NODE_DIR)/package-lock.json
	@command -v npm >/dev/null || { echo "npm is missing. Install Node 20 (Debian: apt-get install nodejs npm)."; exit 1; }
	cd $(NODE_DIR) && npm ci --silent
	@touch $@

system: # PostgreSQL and strace for the tests: from Debian when we may install them, else those tests say why they are skipped
	@if ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null; fi
	@if ! command -v strace >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends strace >/dev/null; fi

docs: $(DEV_STAMP) ## Build the documentation site into site/ (broken links fail)
	$(BIN)/zensical build --strict --clean

docs-serve: $(DEV_STAMP) ## Documentation with live reload on http://127.0.0.1:8001
	$(BIN)/zensical serve -a 127.0.0.1:8001

fuzz: $(DEV_STAMP) ## Fuzz every parser of model files for SECONDS_EACH seconds (default 60) each
	$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS_EACH),60)

promises: $(DEV_STAMP) system ## Show every promise of docs/promises.md at LEVEL full (default; hours) or quick; report in build/promises/
	$(BIN)/python -m tests.promises.report --level $(or $(LEVEL),full) --only "$(ONLY)"

bench: $(DEV_STAMP) ## Measure all that benchmarks/ has; results go to benchmarks/results/ (hours, wants a quiet machine)
	$(BIN)/python -m benchmarks.bench_start
	$(BIN)/python -m benchmarks.bench_inference
	$(BIN)/python -m benchmarks.bench_fidelity
	$(BIN)/python -m benchmarks.bench_predict
	$(BIN)/python -m benchmarks.bench_translate
	$(BIN)/python -m benchmarks.bench_batch
	$(BIN)/python -m benchmarks.bench_overload
	$(BIN)/python -m benchmarks.bench_jobs
	$(BIN)/python -m benchmarks.bench_nlp
	$(BIN)/python -m benchmarks.bench_annotate
	$(BIN)/python -m benchmarks.bench_juicer_operators
	$(BIN)/python -m benchmarks.bench_data
	$(BIN)/python -m benchmarks.bench_data_scale

schema: $(DEV_STAMP) ## Write schema/openapi.json from the server
	$(BIN)/python -m llmos.server.schema

lock: $(VENV)/pyvenv.cfg ## Resolve requirements/*.lock anew (torch is installed beside them: see TORCH above)
	$(PIP) install -q pip-tools
	$(BIN)/python requirements/lock.py

clean: ## Remove the environment, caches and built files (downloaded models stay in LLMOS_HOME and .downloads/)
	rm -rf $(VENV) site build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache $(NODE_DIR)/node_modules
