# Two commands from a fresh clone: `make repro` and `make test`. `make help` lists the rest.
.DEFAULT_GOAL := help
.PHONY: help install repro test lint types unit smoke lab report bench clean

# a package index beside the usual one, for example PyTorch's own with the small CPU build
TORCH_INDEX ?=
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info[:2] == (3, 11), f"Python 3.11 is needed, this is {sys.version.split()[0]}: make PYTHON=/path/to/python3.11"'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

install: $(STAMP) ## make .venv with the locked packages

repro: $(STAMP) ## run what changed: photographs, training, tables, figures (PROFILE=gpu switches the scale first)
	$(if $(PROFILE),$(BIN)/colorexp profile $(PROFILE))
	@start=$$(date +%s); $(BIN)/dvc repro && $(BIN)/colorexp report && echo "dvc repro took $$(($$(date +%s) - start)) s"

test: lint types unit ## lint, types, tests, and a smoke-profile `dvc repro` in a temporary copy

lint: $(STAMP) ## ruff: style and mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## mypy
	$(BIN)/mypy

unit: $(STAMP) ## pytest on all cores (four at most), with the smoke pipeline among the tests; no thread waits awake, as processes share cores
	GOMP_SPINCOUNT=0 $(BIN)/pytest -n logical --maxprocesses 4 --no-loadscope-reorder

smoke: $(STAMP) ## only the smoke-profile `dvc repro`, in a temporary copy
	$(BIN)/pytest tests/pipeline -k smoke -s

lab: $(STAMP) ## JupyterLab on the notebooks
	$(BIN)/jupyter lab notebooks

report: $(STAMP) ## rebuild scorecard and reports/index.html from what exists and print its path
	$(BIN)/colorexp report

bench: $(STAMP) ## print speed and memory: data, Lab, training, start-up, no-op
	$(BIN)/python -m colorexp.bench

clean: ## remove what can be made again; data/, .dvc/cache and reports/ stay
	rm -rf build artifacts scratch .pytest_cache .mypy_cache .ruff_cache

help: ## this list
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "%-9s%s\n", $$1, $$2}' $(MAKEFILE_LIST)
