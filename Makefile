# Every target builds .venv first; `make demo` and `make test` need nothing but python3 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
unexport PYTHONDONTWRITEBYTECODE # tests start many processes, each of which would compile the package anew
.PHONY: help demo test test-slow test-kills test-fuzz test-ray check bench test-speed kernels interop-fixtures test-interop test-trackers test-scaling gpu-check dist docs clean

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

demo: $(VENV)/installed ## train a sparse coder on embedded photographs, score it, report on it in one page (two minutes)
	$(BIN)/sparsecode train photos-sdl --out runs/demo
	$(BIN)/sparsecode report runs/demo

test: $(VENV)/tools ## the tests (under four minutes on two cores)
	$(BIN)/pytest --numprocesses 2 --dist worksteal

test-slow: $(VENV)/tools ## the long tests (MNIST needs SPARSECODE_DATA or the network)
	$(BIN)/pytest -m slow

test-kills: $(VENV)/tools ## every command killed at each of its writes and called again (about ten minutes on two cores)
	$(BIN)/pytest -m slow --numprocesses 2 --dist worksteal tests/test_kills.py

test-fuzz: $(VENV)/tools ## 10 000 damaged configs, arrays, foreign folders and command lines (SPARSECODE_FUZZ_SEED chooses which)
	SPARSECODE_FUZZ_INPUTS=$${SPARSECODE_FUZZ_INPUTS:-10000} $(BIN)/pytest -m slow tests/fuzz

test-ray: $(VENV)/tools ## sweeps on a real Ray cluster of this machine (installs Ray)
	$(PIP) --editable '.[ray]'
	$(BIN)/pytest -m "slow or not slow" tests/test_ray.py

test-browser: $(VENV)/tools ## the report and the interactive page in Chromium, which Debian's apt installs where there is none
	command -v chromium chromium-browser google-chrome >/dev/null || apt-get install --yes --no-install-recommends chromium
	$(BIN)/pytest -m slow tests/test_traverse.py tests/test_report_browser.py

# As on a processor with AVX2 alone: torch, oneDNN, the kernels, and MKL, which has no switch for that on AMD's, by its oldest code.
WITH_AVX2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES= MKL_CBWR=COMPATIBLE
NUMERICAL := $(addprefix tests/, \
	$(addprefix contract/test_, constraints.py dense_codes.py energies.py penalties.py solvers.py sparse_codes.py) \
	golden interop/test_convert.py \
	$(addprefix test_, adam_state.py dictionary.py fused_bound.py kernels.py omp.py one_pass.py pursuits.py sparse_encode.py \
	sparse_step.py stacked.py))

SITE := docs/_site
BUILD_SITE := COLUMNS=80 NO_COLOR=1 $(BIN)/python -m sphinx -q -W --keep-going -c docs/site -b html $(SITE)/source $(SITE)/html

check: $(VENV)/tools ## style, types, import order, dependencies; numerical tests without AVX-512 and bfloat16
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/deptry .
	@mkdir -p $(SITE)/source
	$(BUILD_SITE)
	$(WITH_AVX2) $(BIN)/pytest --numprocesses 2 --dist worksteal $(NUMERICAL)

# Peers have an environment of their own, with the package in it at the same pinned versions.
BENCH := .venv-bench
BENCHMARKS := lasso dictionary training autoencoders variational sweep path correlated fired_rows estimators start
.PHONY: $(BENCHMARKS:%=bench-%)
BENCH_PIP := $(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

$(BENCH)/installed: pyproject.toml constraints.txt benchmarks/requirements.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH_PIP) torch
	$(BENCH_PIP) --editable .
	$(BENCH_PIP) --requirement benchmarks/requirements.txt
	$(BENCH_PIP) --no-deps dictionary-learning==0.1.0
	@touch $@

bench: $(BENCHMARKS:%=bench-%) ## speed beside peers, one benchmark after another, and a table of all ratios
	$(BENCH)/bin/python benchmarks/ratios.py

$(BENCHMARKS:%=bench-%): bench-%: $(BENCH)/installed
	$(BENCH)/bin/python benchmarks/$*.py

test-speed: $(VENV)/tools $(BENCH)/installed ## no ratio to a peer is below 70 % of that in benchmarks/results/ratios.json (a quarter of an hour)
	SPARSECODE_BENCH=$(BENCH)/bin/python $(BIN)/pytest -m slow tests/speed

# A machine with a GPU has torch's CUDA build in some other environment: make gpu-check GPU_PYTHON=python
GPU_PYTHON := $(BIN)/python

gpu-check: ## contract tests, a training and step times on the GPU, under 4 minutes; without one what the CPU can
	$(GPU_PYTHON) benchmarks/gpu_check.py

# Libraries whose files are read and written, in an environment of their own, without the package.
PEERS := .venv-peers
PEERS_PIP := $(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check

$(PEERS)/installed: tests/interop/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS_PIP) --constraint constraints.txt torch
	$(PEERS_PIP) --requirement tests/interop/requirements.txt
	$(PEERS_PIP) --no-deps dictionary-learning==0.1.0
	@touch $@

kernels: $(VENV)/tools ## write the compiled functions that come with the package anew, after a change of sparsecode/kernels
	PYTHONHASHSEED=0 $(BIN)/python tests/lowering.py

interop-fixtures: $(PEERS)/installed ## write tests/interop/fixtures anew with the real libraries
	PYTHONHASHSEED=0 HF_HUB_OFFLINE=1 $(PEERS)/bin/python tests/interop/peers/make_fixtures.py

test-interop: $(VENV)/tools $(PEERS)/installed ## load our files in the real libraries and compare
	SPARSECODE_PEERS=$(PEERS)/bin/python $(BIN)/pytest -m slow tests/interop tests/test_from_text.py

# The trackers have an environment of their own, with the package in it; they exclude some versions in constraints.txt.
TRACKING := .venv-trackers
TRACKING_PIP := $(TRACKING)/bin/python -m pip install --quiet --disable-pip-version-check

$(TRACKING)/installed: pyproject.toml constraints.txt tests/trackers/requirements.txt
	$(PYTHON) -m venv $(TRACKING)
	$(TRACKING_PIP) --constraint constraints.txt torch
	$(TRACKING_PIP) --editable '.[tensorboard]' --requirement tests/trackers/requirements.txt
	@touch $@

test-trackers: $(TRACKING)/installed ## train with the real trackers, offline, and read what they recorded
	$(TRACKING)/bin/pytest -m "slow or not slow" tests/test_trackers.py

# Dask and Ray have an environment of their own.
SCALING := .venv-scaling
SCALING_PIP := $(SCALING)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

$(SCALING)/installed: pyproject.toml constraints.txt tests/scaling/requirements.txt
	$(PYTHON) -m venv $(SCALING)
	$(SCALING_PIP) torch
	$(SCALING_PIP) --editable . --requirement tests/scaling/requirements.txt
	@touch $@

test-scaling: $(SCALING)/installed ## two nodes of torchrun on this machine, and the programs of docs/scaling.md with real Dask and Ray
	$(SCALING)/bin/pytest -m "slow or not slow" tests/test_scaling.py

dist: $(VENV)/tools ## wheel and sdist in dist/, checked, and the wheel with each extra in clean environments (a gigabyte each time)
	rm -rf dist
	$(BIN)/python -m hatchling build
	SPARSECODE_DIST=dist $(BIN)/pytest -m "slow or not slow" tests/test_dist.py tests/test_uninstall.py

pictures: $(VENV)/installed ## make the README's and docs' pictures anew
	$(BIN)/python docs/make_pictures.py

docs: $(VENV)/tools ## the documentation as a site, without network; warnings are errors
	@mkdir -p $(SITE)/source
	$(BUILD_SITE)
	@echo "$(SITE)/html/index.html"

clean: ## delete what the targets made, but not runs/
	rm -rf $(VENV) $(BENCH) $(PEERS) $(TRACKING) $(SCALING) dist .pytest_cache .ruff_cache .import_linter_cache
