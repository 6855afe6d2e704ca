# Everything a fresh machine needs is Python 3.11+ and git; each target makes .venv on first use.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help demo test test-fast lint bench sandbox card clean

help:
	@echo "make demo       edit a trained language model, check, commit, apply, revert; prove the bytes"
	@echo "make test       all tests             make test-fast   the quick ones (under two minutes)"
	@echo "make lint       ruff, mypy, import contracts"
	@echo "make bench      speed and memory figures (pytest-benchmark)"
	@echo "make sandbox    train the embedded model again from its seed (about an hour on two cores)"
	@echo "make card       measure the embedded model and print its world card"

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "PatchHub needs Python 3.11 or newer; found $$($(PYTHON) --version). Set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/patchhub demo

test: $(STAMP)
	$(BIN)/python -m pytest -q

test-fast: $(STAMP)
	$(BIN)/python -m pytest -q -m "not slow"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m pytest benches -q --benchmark-columns=min,median,rounds

sandbox: $(STAMP)
	$(BIN)/python -m patchhub.sandbox.train

card: $(STAMP)
	$(BIN)/python -m patchhub.sandbox.card

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis demo
