# `make demo` and `make test` are all a newcomer needs; each builds .venv on its first run.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: demo test check bench docs clean

demo: $(VENV)/installed
	$(BIN)/svqvae demo --out demo

# A process for each core, of one thread each: threads of several processes would wait for each other.
test: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

check: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/installed-bench
	$(BIN)/python benchmarks/defaults.py
	$(BIN)/python benchmarks/published_mnist.py
	$(BIN)/python benchmarks/published_mnist.py --later-start
	$(BIN)/python benchmarks/default_mnist.py
	$(BIN)/python benchmarks/atlas_truth.py
	$(BIN)/python benchmarks/atlas_mnist.py
	$(BIN)/python benchmarks/atlas_speed.py
	$(BIN)/python benchmarks/speed.py --only reference mnist lincs classes predict quality
	$(BIN)/python benchmarks/rare_classes.py
	$(BIN)/python benchmarks/drug_classes.py
	$(BIN)/python benchmarks/simulation.py
	$(BIN)/python benchmarks/confidence.py
	$(BIN)/python benchmarks/out_of_core.py
	$(BIN)/python benchmarks/gse70138_size.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/readme_table.py --write

docs: $(VENV)/installed-docs
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf $(VENV) demo docs/_build docs/gallery

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(INSTALL) --editable .
	touch $@

$(VENV)/installed-%: $(VENV)/bin/python pyproject.toml constraints.txt
	$(INSTALL) --editable ".[$*]"
	touch $@ $(VENV)/installed
