# Every target builds .venv first; `make demo` and `make test` need nothing but python3 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check bench docs clean

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

bench: $(VENV)/installed ## speed beside peers, in one run
	$(BIN)/python benchmarks/lasso.py

docs: $(VENV)/installed ## make the README's and docs' pictures anew
	$(BIN)/python docs/make_pictures.py

clean: ## delete what the targets made, but not runs/
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache
