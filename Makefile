# The two commands of the README: `make quickstart` and `make test`. Both work from nothing but Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Threads that wait without spinning: torch's take a core each while they wait, and here cores are shared.
export OMP_WAIT_POLICY = PASSIVE

.PHONY: quickstart test quick slow lint setup peers clean

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,birdnet,av,report,openvino,energy,notebooks,dev]'
	touch $@

quickstart: setup
	$(BIN)/sondino quickstart --out quickstart

# The slow tests trace nets on one core: the quick ones have the other.
test: lint
	@echo "quick and slow tests side by side: some five minutes before they say anything"
	@$(MAKE) --no-print-directory -j2 --output-sync=target quick slow

quick: setup
	$(BIN)/pytest -m "not slow"

slow: setup
	$(BIN)/pytest -m slow

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The published package, in an environment of its own, for benchmarks/embed.py. 4.8 GB with torch's default build.
peers:
	$(PYTHON) -m venv .peers
	.peers/bin/pip install --quiet --disable-pip-version-check ssondo==0.3.1 torch==2.11.0 torchaudio==2.11.0 \
	  torchvision==0.26.0 soundfile soxr

clean:
	rm -rf $(VENV) .peers quickstart .mypy_cache .ruff_cache .pytest_cache
