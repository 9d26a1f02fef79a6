# The two commands of the README: `make quickstart` and `make test`. Both work from nothing but Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Threads that wait without spinning: torch's take a core each while they wait, and here cores are shared.
export OMP_WAIT_POLICY = PASSIVE

.PHONY: quickstart test lint setup clean

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,birdnet,av,report,dev]'
	touch $@

quickstart: setup
	$(BIN)/sondino quickstart --out quickstart

test: lint
	$(BIN)/pytest -m "not slow"
	$(BIN)/pytest -m slow

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) quickstart .mypy_cache .ruff_cache .pytest_cache
