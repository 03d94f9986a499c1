# Each target sets up what it needs (.venv and packages) on a machine that has nothing but Python 3.11 or newer.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$python -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
RUN := outputs/quick
DEMO := outputs/demo
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.docs
# A process a core: tensors of tests are tiny, and a second thread would only wait.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -p no:cacheprovider -n auto --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help search demo test quick lint format coverage docs bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

search: $(STAMP) ## Search on drawn figures, derive, train from scratch, evaluate: a first result within minutes
	rm -rf $(RUN)/search $(RUN)/train $(RUN)/evaluate $(RUN)/report.html
	$(BIN)/python -m autopose.search experiment=quick hydra.run.dir=$(RUN)/search
	$(BIN)/python -m autopose.train experiment=quick architecture=$(RUN)/search/architecture.json hydra.run.dir=$(RUN)/train
	$(BIN)/python -m autopose.evaluate experiment=quick checkpoint=$(RUN)/train/checkpoints/last.pt hydra.run.dir=$(RUN)/evaluate
	@$(BIN)/python -m autopose.report $(RUN)/search $(RUN)/train $(RUN)/evaluate out=$(RUN)/report.html
	@echo "open it in a browser: the architecture, the curves, the scores, and predictions beside the truth"

demo: $(STAMP) ## No search: train a given architecture on drawn figures, predict, export, one page, within minutes
	rm -rf $(DEMO)/train $(DEMO)/predict $(DEMO)/export $(DEMO)/demo.html
	$(BIN)/python -m autopose.train experiment=quick name=demo architecture=examples/demo_architecture.json data.root=$(DEMO)/figures hydra.run.dir=$(DEMO)/train
	$(BIN)/python -m autopose.predict name=demo checkpoint=$(DEMO)/train/checkpoints/last.pt 'source="$(DEMO)/figures/val/00000*"' hydra.run.dir=$(DEMO)/predict
	$(BIN)/python -m autopose.export name=demo checkpoint=$(DEMO)/train/checkpoints/last.pt export.decode=true hydra.run.dir=$(DEMO)/export
	@$(BIN)/python -m autopose.report $(DEMO)/train $(DEMO)/predict out=$(DEMO)/demo.html
	@echo "open $(DEMO)/demo.html in a browser; $(DEMO)/export/pose.onnx runs without this software: examples/run_onnx.py"

test: lint ## Lint, types and the whole test suite; no GPU needed
	$(PYTEST) tests

quick: $(STAMP) ## The tests that take less than a minute together (without those marked slow)
	$(PYTEST) -m "not slow" tests

lint: $(STAMP) ## Style and types, nothing changed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --no-error-summary

format: $(STAMP) ## Put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

coverage: $(STAMP) ## The whole test suite, then the lines that no test runs
	$(PYTEST) --cov --cov-report=term-missing:skip-covered tests

docs: $(DOCS_STAMP) ## Build the documentation site into site/
	$(BIN)/mkdocs build --strict

bench: $(STAMP) ## Time the kernels on whatever is here
	$(BIN)/python -m pytest bench --benchmark-only

$(STAMP): requirements.txt setup.py pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer with venv and pip was found: install one, or name it, as in make PYTHON=/path/to/python $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $(STAMP)

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --no-build-isolation -e '.[docs]'
	touch $(DOCS_STAMP)

clean: ## Remove what was made: .venv, outputs, site
	rm -rf $(VENV) outputs build site *.egg-info
