# Each target alone sets everything up on a machine that has only Python 3.11: .venv, packages, job.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
RUN := outputs/quick
STAMP := $(VENV)/.installed

.PHONY: search test bench clean

# Search on drawn figures, derive, train from scratch, evaluate: within five minutes on two cores.
search: $(STAMP)
	rm -rf $(RUN)/search $(RUN)/train $(RUN)/evaluate
	$(BIN)/python -m autopose.search experiment=quick hydra.run.dir=$(RUN)/search
	$(BIN)/python -m autopose.train experiment=quick architecture=$(RUN)/search/architecture.json hydra.run.dir=$(RUN)/train
	$(BIN)/python -m autopose.evaluate experiment=quick checkpoint=$(RUN)/train/checkpoints/last.pt hydra.run.dir=$(RUN)/evaluate
	@echo
	@echo "found architecture  $(RUN)/search/architecture.json"
	@echo "drawing             $(RUN)/search/architecture.png"
	@echo "search curves       $(RUN)/search/search_curves.png"
	@echo "training curves     $(RUN)/train/training_curves.png"

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -q -p no:cacheprovider tests

bench: $(STAMP)
	$(BIN)/python -m pytest bench --benchmark-only

$(STAMP): requirements.txt setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $(STAMP)

clean:
	rm -rf $(VENV) outputs build *.egg-info
