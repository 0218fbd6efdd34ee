# `make quickstart` and `make test` set up .venv by themselves; PYTHON and PIP_ARGS can be given.
PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin

.PHONY: quickstart test test-all lint speed clean

quickstart: .venv/installed
	$(BIN)/nas run examples/quickstart.toml

test: .venv/dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-all: .venv/dev
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

speed: .venv/dev
	$(BIN)/python tests/speed/genomes.py
	$(BIN)/python tests/speed/blocks.py
	$(BIN)/python tests/speed/extrapolation.py
	$(BIN)/python tests/speed/chunks.py
	$(BIN)/python tests/speed/prediction.py
	$(BIN)/python tests/speed/tables.py
	OMP_NUM_THREADS=1 $(BIN)/python tests/speed/strategies.py
	$(BIN)/python tests/speed/simulation.py
	$(BIN)/python tests/speed/ray_overhead.py

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info

.venv/installed: pyproject.toml constraints.txt
	@echo "Installing PyTorch, Ray and what else is needed in .venv: some minutes, in which nothing is printed."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt $(PIP_ARGS) -e .
	touch $@

.venv/dev: .venv/installed
	$(BIN)/python -m pip install --quiet -c constraints.txt $(PIP_ARGS) -e ".[dev]"
	touch $@
