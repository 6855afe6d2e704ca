# Everything a fresh machine needs is Python 3.11+ and git; each target makes .venv on first use.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# The embedded model lies in the package, the others beside the tests.
MODEL  ?= sandbox-gpt2
PLACE  := $(if $(filter sandbox-gpt2,$(MODEL)),patchhub/sandbox/models,tests/models)/$(MODEL)

.PHONY: help demo test test-fast stress git-lfs ops lint bench crash experiments sandbox card clean

help:
	@echo "make demo       edit a trained language model, check, commit, apply, revert; prove the bytes"
	@echo "make test       all tests             make test-fast   the quick ones (under two minutes)"
	@echo "make ops        a thousand random operations on each type of model in each dtype (ten minutes)"
	@echo "make stress     two processes, 300 random operations each; 60 kills; a registry killed at every step"
	@echo "                of a change; runs of jobs killed twenty times, an experiment ten times"
	@echo "make git-lfs    put the real git-lfs beside python (Debian, Ubuntu), for the tests that use it"
	@echo "make lint       ruff, mypy, import contracts"
	@echo "make bench      speed and memory figures (pytest-benchmark)"
	@echo "make experiments  single edits, batches and sequences by every method on the three sandbox models"
	@echo "                (some hours on two cores; goes on where it was stopped), then a report"
	@echo "make crash      300 kills of running commands at random moments; each leaves old or new"
	@echo "make sandbox    train the embedded model again from its seed (about an hour on two cores);"
	@echo "                MODEL=sandbox-llama or sandbox-t5 trains another"
	@echo "make card       measure that model and print its world card"

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "PatchHub needs Python 3.11 or newer; found $$($(PYTHON) --version). Set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/patchhub demo

# A process per processor, and of one thread: more would wait for each other.
WORKERS ?= logical
PYTEST  := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q
SPREAD  := -n $(WORKERS) --dist worksteal

test: $(STAMP)
	$(PYTEST) $(SPREAD)

test-fast: $(STAMP)
	$(PYTEST) $(SPREAD) -m "not slow"

ops: $(STAMP)
	PATCHHUB_TEST_OPERATIONS=1000 $(BIN)/python -m pytest -q tests/engine/composer/test_operations.py

stress: $(STAMP)
	PATCHHUB_TEST_OPERATIONS=300 PATCHHUB_TEST_KILLS=60 $(BIN)/python -m pytest -q \
	  tests/registry/test_concurrency.py tests/registry/test_killed.py
	PATCHHUB_TEST_BENCH_KILLS=10 $(BIN)/python -m pytest -q tests/cli/test_bench.py
	PATCHHUB_TEST_STRIDE=1 PATCHHUB_TEST_KILLS=20 $(BIN)/python -m pytest -q \
	  tests/registry/test_crash.py tests/jobs/test_kill.py

# The real git-lfs, for the tests that push and fetch with it; without it they are skipped.
git-lfs: $(STAMP)
	@command -v git-lfs > /dev/null || test -x $(BIN)/git-lfs || { \
	  there=$$(mktemp -d) && (cd $$there && apt-get download -q git-lfs && dpkg-deb -x git-lfs_*.deb .) && \
	  install $$there/usr/bin/git-lfs $(BIN)/git-lfs && rm -r $$there; }

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m pytest benches -q --benchmark-columns=min,median,rounds

crash: $(STAMP)
	$(BIN)/python -m tests.crash

BASES   := patchhub/sandbox/models/sandbox-gpt2 tests/models/sandbox-llama tests/models/sandbox-t5
RESULTS ?= results
SANDBOX := $(BASES:%=--model %) --out $(RESULTS) --trained $(RESULTS)/editors
MEND    := --set rank=256 --set lr=1e-5 --set rate_lr=2e-5 --set kept=2 --set steps=300 \
           --set every=50 --set patience=150 --set held=60
experiments: $(STAMP)
	for base in $(BASES); do $(BIN)/patchhub train mend --model $$base --data sandbox --skip 200 \
	  --out $(RESULTS)/editors $(MEND) || exit 1; done
	$(BIN)/patchhub bench single $(SANDBOX)
	$(BIN)/patchhub bench batch --sizes 1,10,100,200 $(SANDBOX)
	$(BIN)/patchhub bench sequential --joint memit,alphaedit $(SANDBOX)
	$(BIN)/patchhub bench report $(RESULTS) --to $(RESULTS)/report

sandbox: $(STAMP)
	$(BIN)/python -m patchhub.sandbox.train --recipe $(MODEL) --out $(PLACE)

card: $(STAMP)
	$(BIN)/python -m patchhub.sandbox.card --model $(MODEL) --directory $(PLACE)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis demo
