# make demo             the whole job on a generated heart; make demo DATA=/path/to/ACDC on real data
# make test             the tests that take seconds each
# make test-slow        the others: trainings, servers, the browser, every documented command; with
#                       THORAX_DATA=/path/that/contains/acdc also real patients. CI runs both.
# make check            linters, types and spelling: what CI and pre-commit run
# make docs, make bench, make clean
#
# Each target makes its own environment in .venv first, once; it is renewed when a version in
# pyproject.toml or constraints.txt changes.

VENV ?= .venv
PYTHON ?= $(shell for p in python3.11 python3; do $$p -c "" 2>/dev/null && { echo $$p; break; }; done)
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=

# A worker that dies ends the run; restarted, xdist may wait for it for ever. Freed memory goes back.
PYTEST := MALLOC_ARENA_MAX=2 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 \
	--max-worker-restart 0 --dist loadfile

.PHONY: demo test test-slow check lint format types spelling docs bench install clean

demo: $(STAMP)
	$(BIN)/thorax demo $(if $(DATA),--data "$(DATA)") $(ARGS)

test: $(STAMP)
	$(PYTEST) -m "not slow" $(ARGS)

test-slow: $(STAMP)
	$(PYTEST) -m slow $(ARGS)

check: lint format types spelling

lint: $(STAMP)
	$(BIN)/ruff check .

format: $(STAMP)
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

spelling: $(STAMP)
	$(BIN)/codespell

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(STAMP)
	$(BIN)/thorax bench $(ARGS)

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python was found. Thorax needs Python 3.11: install it, or name it with 'make PYTHON=/path/to/python3.11'." >&2; exit 1; }
	@"$(PYTHON)" pipelines/environment.py --venv "$(VENV)"
	@touch $@

# runs/ stays: it holds hours of training.
clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find pipelines tests bundles $(wildcard apps) -type d -name __pycache__ -prune -exec rm -rf {} +
