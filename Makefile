# make demo             the whole job on a generated heart; make demo DATA=/path/to/ACDC on real data
# make test             the tests that take seconds each
# make test-slow        the others: trainings, servers, the browser, every documented command; with
#                       THORAX_DATA=/path/that/contains/acdc also real patients. CI runs both.
# make check            linters, import contract, size, types, spelling and known vulnerabilities: what CI and pre-commit run
# make audit            known vulnerabilities of the locked packages; part of make check
# make sbom             software bill of materials of the environment, in runs/sbom.json
# make lock             the locks with their hashes, anew from pyproject.toml and constraints.txt
# make checksums        the checksums of the bundles' code, after a change of their configs
# make page-types       types of the browser page, by the versions in .ci/node; part of make check
# make pictures         the pictures of the docs, of generated hearts and films
# make stale            pages of docs/results that were measured with other weights than those in the bundles
# make results          makes those again: make results HEARTS=runs/acdc XRAYS=runs/chest-xray, prepared folders
# make docs, make bench, make clean
#
# Each target makes its own environment in .venv first, once; it is renewed when a version in
# pyproject.toml or the lock changes.

VENV ?= .venv
PYTHON ?= $(shell for p in python3.11 python3; do $$p -c "" 2>/dev/null && { echo $$p; break; }; done)
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TOOLS := $(VENV)/tools
TOOLS_STAMP := $(TOOLS)/.installed
NODE := .cache/node
NODE_STAMP := $(NODE)/.installed
SBOM ?= runs/sbom.json
ARGS ?=

# A worker that dies ends the run; restarted, xdist may wait for it for ever. Freed memory goes back.
PYTEST := MALLOC_ARENA_MAX=2 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 \
	--max-worker-restart 0 --dist loadfile

.PHONY: demo test test-slow check lint format imports size types page-types spelling audit sbom lock checksums docs pictures stale results bench install clean

demo: $(STAMP)
	$(BIN)/thorax demo $(if $(DATA),--data "$(DATA)") $(ARGS)

test: $(STAMP)
	$(PYTEST) -m "not slow" $(ARGS)

test-slow: $(STAMP)
	$(PYTEST) -m slow $(ARGS)

check: lint format imports size types page-types spelling audit

lint: $(STAMP)
	$(BIN)/ruff check .

format: $(STAMP)
	$(BIN)/ruff format --check .

imports: $(STAMP)
	$(BIN)/lint-imports --no-cache

size: $(STAMP)
	$(BIN)/python .ci/size.py

types: $(STAMP)
	$(BIN)/mypy

page-types: $(if $(shell command -v npm),$(NODE_STAMP))
	@if command -v npm >/dev/null && [ -e $(NODE_STAMP) ]; then $(NODE)/node_modules/.bin/tsc --project .ci/node; \
	else echo "no npm, or no packages of it, on this machine: the types of the page were not checked"; fi

spelling: $(STAMP)
	$(BIN)/codespell

audit: $(TOOLS_STAMP)
	$(TOOLS)/bin/python .ci/supply_chain.py audit

sbom: $(STAMP) $(TOOLS_STAMP)
	$(TOOLS)/bin/python .ci/supply_chain.py sbom --python $(BIN)/python --output "$(SBOM)"

COMPILE := $(TOOLS)/bin/uv pip compile --quiet --universal --python-version 3.11.5 --generate-hashes \
	--no-annotate --custom-compile-command "make lock"

lock: $(TOOLS_STAMP)
	$(COMPILE) pyproject.toml --all-extras --constraint constraints.txt --output-file requirements.lock
	$(COMPILE) --group tools --output-file tools.lock

checksums: $(STAMP)
	$(BIN)/python -c "from pipelines.models.bundle import BUNDLES, write_shipped; write_shipped(BUNDLES)"

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

pictures: $(STAMP)
	$(BIN)/python .ci/pictures.py docs
	$(BIN)/python tests/viewer/screenshot.py

stale: $(STAMP)
	$(BIN)/python .ci/results.py

results: $(STAMP)
	$(BIN)/python .ci/results.py $(if $(HEARTS),--hearts "$(HEARTS)") $(if $(XRAYS),--xrays "$(XRAYS)") $(ARGS)

bench: $(STAMP)
	$(BIN)/thorax benchmark speed --overwrite $(ARGS)
	$(BIN)/thorax cohort benchmark

install: $(STAMP)

HAVE_PYTHON = test -n "$(PYTHON)" || { echo "No Python was found. Thorax needs Python 3.11: install it, or name it with 'make PYTHON=/path/to/python3.11'." >&2; exit 1; }

$(STAMP): pyproject.toml requirements.lock
	@$(HAVE_PYTHON)
	@"$(PYTHON)" .ci/environment.py --venv "$(VENV)"
	@touch $@

$(TOOLS_STAMP): tools.lock
	@$(HAVE_PYTHON)
	@"$(PYTHON)" .ci/environment.py --tools --venv "$(TOOLS)"
	@touch $@

$(NODE_STAMP): .ci/node/package.json .ci/node/package-lock.json
	@mkdir -p $(NODE)
	@cp $^ $(NODE)
	npm ci --prefix $(NODE) --ignore-scripts --no-audit --no-fund --loglevel error && touch $@ || true

# runs/ stays: it holds hours of training.
clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .cache
	find pipelines tests bundles $(wildcard apps) -type d -name __pycache__ -prune -exec rm -rf {} +
