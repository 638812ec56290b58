# Everything runs in a virtual environment of its own, made when first needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TRAIN := .venv-train
TRAIN_READY := $(TRAIN)/.ready
LOWEST := $(addprefix tests/test_,budgets.py toml.py config.py costs.py decoding.py terminal.py)
# Each file of tests runs in one of two processes, with one thread each.
PARALLEL := --numprocesses 2 --dist loadfile

.PHONY: demo demo-latency test test-all test-lowest test-train check lint papers papers-train bench bench-long bench-runs clean

demo: $(READY)  ## the main job on the embedded data: networks for three budgets, and a report
	$(BIN)/anybudget run recipes/demo.toml --out runs/demo

demo-latency: $(READY)  ## budgets in milliseconds on this machine: it is profiled, and what is found is measured
	$(BIN)/anybudget profile recipes/demo-latency.toml --budget-seconds 90
	$(BIN)/anybudget run recipes/demo-latency.toml --out runs/demo-latency

test: $(READY)  ## the tests but for those marked slow
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) -m "not slow"

test-lowest: ## some tests with the lowest versions of constraints-lowest.txt, in an environment of its own
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --constraint constraints-lowest.txt --editable . hypothesis pytest
	OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -m "not slow" $(LOWEST)

test-train: $(TRAIN_READY)  ## the tests that need timm, torchvision or pycocotools, in an environment of its own; 6 GB
	OMP_NUM_THREADS=1 $(TRAIN)/bin/python -m pytest --numprocesses 2 -m "timm or detect"

test-all: $(READY)  ## all tests, whole benchmark tables included where they lie in ../shared/data
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL)

check: $(READY) lint test  ## what CI runs: format, lint, types, import contract, the tests of `make test`

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

papers: $(READY)  ## the papers' tables and figures, into docs/results; about two hours on two cores, resumes
	$(BIN)/python benchmarks/papers.py

papers-train: $(TRAIN_READY)  ## the tables that need torchvision or pycocotools, in the environment of test-train
	$(TRAIN)/bin/python benchmarks/papers.py sgnas-table-4

bench: $(READY)  ## ratios of speed and memory, and the fashion recipe over three seeds; about half an hour on two cores
	$(BIN)/python benchmarks/steps.py
	$(BIN)/python benchmarks/depthwise.py
	$(BIN)/python benchmarks/norms.py
	$(BIN)/python benchmarks/spaces.py
	$(BIN)/python benchmarks/prefixes.py
	$(BIN)/python benchmarks/decoding.py
	$(BIN)/python benchmarks/growth.py --quick
	$(BIN)/python benchmarks/fashion.py
	$(BIN)/python benchmarks/estimator.py runs/bench-fashion-0

bench-long: $(READY)  ## trained comparisons and strategies on three supernets each; hours on two cores, resumes
	$(BIN)/python benchmarks/worth.py
	$(BIN)/python benchmarks/worth.py --recipe recipes/fashion.toml --out runs/bench-fashion
	$(BIN)/python benchmarks/strategies.py

bench-runs: $(READY)  ## kills and lost workers, engines, throughput; a quarter of an hour on two cores
	$(BIN)/python benchmarks/faults.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/engines.py
	$(BIN)/python benchmarks/throughput.py

clean:  ## the environment and caches; runs/ is kept
	rm -rf $(VENV) $(TRAIN) .venv-lowest .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "anybudget needs Python 3.11 or newer"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

# Another torch than the one of constraints.txt: one that there is a torchvision for.
$(TRAIN_READY): pyproject.toml constraints.txt constraints-train.txt
	$(PYTHON) -m venv $(TRAIN)
	grep -v '^torch==' constraints.txt > $(TRAIN)/constraints.txt
	$(TRAIN)/bin/python -m pip install --quiet --constraint $(TRAIN)/constraints.txt --constraint constraints-train.txt \
		--editable '.[detect,onnx,ray]' altair hypothesis pytest pytest-xdist vl-convert-python
	touch $(TRAIN_READY)
