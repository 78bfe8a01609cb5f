# Every target builds .venv first; `make demo` and `make test` need nothing but python3 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check bench bench-lasso bench-dictionary bench-training docs clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

# --constraint pins every version, torch's CPU build among them.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable .
	@touch $@

$(VENV)/tools: $(VENV)/installed
	$(PIP) --editable '.[dev]'
	@touch $@

demo: $(VENV)/installed ## train a sparse coder on embedded photographs, score it, draw pictures (two minutes)
	$(BIN)/sparsecode train photos-sdl --out runs/demo

test: $(VENV)/tools ## the tests (under five minutes)
	$(BIN)/pytest --numprocesses 2 --dist loadfile

test-slow: $(VENV)/tools ## the long tests (MNIST needs SPARSECODE_DATA or the network)
	$(BIN)/pytest -m slow

check: $(VENV)/tools ## style, types, import order, dependencies
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/deptry .

# Peers have an environment of their own, with the package in it at the same pinned versions.
BENCH := .venv-bench
BENCHMARKS := lasso dictionary training
BENCH_PIP := $(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

$(BENCH)/installed: pyproject.toml constraints.txt benchmarks/requirements.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH_PIP) torch
	$(BENCH_PIP) --editable .
	$(BENCH_PIP) --requirement benchmarks/requirements.txt
	@touch $@

bench: $(BENCHMARKS:%=bench-%) ## speed beside peers, one benchmark after another

$(BENCHMARKS:%=bench-%): bench-%: $(BENCH)/installed
	$(BENCH)/bin/python benchmarks/$*.py

docs: $(VENV)/installed ## make the README's and docs' pictures anew
	$(BIN)/python docs/make_pictures.py

clean: ## delete what the targets made, but not runs/
	rm -rf $(VENV) $(BENCH) .pytest_cache .ruff_cache .import_linter_cache
