# Everything here sets itself up: a bare machine with Python 3.11, make and git is enough.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: setup check docs test test-all test-oldest wheel-check demo smoke bench clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev,docs]'
	touch $@

check: $(READY)            ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

test: $(READY)             ## the fast part of the suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 -m 'not slow'

test-all: $(READY)         ## everything
	$(BIN)/python -m pytest -q

docs: $(READY)             ## the pages, in build/docs; a warning is an error
	$(BIN)/python -m sphinx -b html -E -W --keep-going -q docs build/docs
	@echo build/docs/index.html

test-oldest: $(READY)      ## the theory with the oldest NumPy and SciPy that are declared
	.ci/test-oldest $(BIN)/python

wheel-check: $(READY)      ## build, install without torch elsewhere, run
	.ci/wheel-check $(BIN)/python

demo: $(READY)             ## the main job on real images; writes report.html
	$(BIN)/isometry demo --out report.html

smoke: $(READY)            ## the studies at toy size, about a minute
	rm -rf runs/smoke
	$(BIN)/isometry reproduce --profile smoke --out runs/smoke

bench: $(READY)            ## every benchmark, as JSON
	for b in benchmarks/bench_*.py; do $(BIN)/python $$b || exit 1; done

clean:
	rm -rf $(VENV) build dist docs/generated report.html .pytest_cache .ruff_cache .import_linter_cache
