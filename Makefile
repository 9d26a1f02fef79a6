# The two commands of the README: `make quickstart` and `make test`. Both work from nothing but Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Processes that the tests are spread over.
WORKERS ?= 2
# Threads that wait without spinning: torch's take a core each while they wait, and here cores are shared.
export OMP_WAIT_POLICY = PASSIVE
# Modules are compiled once, not by each of the hundreds of programs that tests start, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX ?= $(CURDIR)/build/bytecode

# What the README's commands install. `make lock` pins it, and what `make full` adds: Ray, 330 MB, and yt-dlp.
EXTRAS := train,birdnet,av,report,lance,openvino,energy,notebooks,remote,hdf5,search,dev
MORE := ray,audioset
# Where `make edge` makes the environments of the phones' runtimes.
EDGE ?= .edge

.PHONY: quickstart test check quick full lint docs setup page lock web web-test peers edge edge-test clean

setup: $(VENV)/ready page

page:
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory web \
	  || echo "the pages of sondino demo and sondino label are not built, and their tests are skipped: they need Node.js 20.19 or newer"; fi

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

quickstart: setup
	$(BIN)/sondino quickstart --out quickstart

# The page is built while pip installs; lint and the page's tests take what the workers leave of the cores.
test:
	@$(MAKE) --no-print-directory -j4 lint web-test check

# All tests but those that are marked full; quick leaves out the slow ones too.
check: setup
	$(BIN)/pytest -m "not full" -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=25

quick: setup
	$(BIN)/pytest -m "not full and not slow" -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# What `make test` leaves out, since it needs a browser, gigabytes or time: pages in Chromium, the phones' runtimes, the
# largest golden weights, notebooks, every stage of a kill, codecarbon, the examples for Node.js and in C++
# (ONNXRUNTIME_INCLUDE names the folder of ONNX Runtime's C++ headers).
full: setup $(VENV)/with-more edge
	cd examples/javascript && npm ci --no-audit --no-fund --silent --ignore-scripts
	SONDINO_EDGE=$(EDGE) $(BIN)/pytest -m full -n $(WORKERS) --dist loadscope --timeout 1800 --durations=25

lint: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_words.py
	git ls-files -z | xargs -0 $(BIN)/codespell

$(VENV)/with-more: $(VENV)/ready
	$(BIN)/pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS),$(MORE)]'
	touch $@

# The documentation site, in build/site; a broken link or anchor is an error.
docs: .docs/ready
	.docs/bin/python scripts/site_pages.py build/docs
	NO_MKDOCS_2_WARNING=1 .docs/bin/mkdocs build

.docs/ready: docs.txt
	$(PYTHON) -m venv .docs
	.docs/bin/pip install --quiet --disable-pip-version-check -r docs.txt
	touch $@

# The constraints anew, from pyproject.toml: versions stay while they fit; `make lock UPGRADE=1` takes the newest of all.
lock:
	$(PYTHON) scripts/lock.py constraints.txt $(EXTRAS),$(MORE) $(if $(UPGRADE),--upgrade)
	$(PYTHON) scripts/lock.py constraints-executorch.txt train edge-executorch.txt $(if $(UPGRADE),--upgrade)
	$(PYTHON) scripts/lock.py constraints-litert.txt train edge-litert.txt $(if $(UPGRADE),--upgrade)

# The pages that `sondino demo` and `sondino label` show, built with Node.js into the package.
PAGE := src/sondino/page/index.html
web: $(PAGE)

$(PAGE): web/package-lock.json web/index.html web/label.html web/vite.config.ts web/tsconfig.json \
         $(wildcard web/src/* web/src/label/* web/public/*)
	cd web && npm ci --no-audit --no-fund --silent && npm run --silent build

web-test: page
	if command -v npm >/dev/null; then cd web && npm test; fi

# The published package, in an environment of its own, for benchmarks/embed.py. 4.8 GB with torch's default build.
peers:
	$(PYTHON) -m venv .peers
	.peers/bin/pip install --quiet --disable-pip-version-check ssondo==0.3.1 torch==2.11.0 torchaudio==2.11.0 \
	  torchvision==0.26.0 soundfile soxr

# The runtimes for phones, each in an environment of its own: they pin other packages. 1.7 and 2.3 GB.
edge: $(EDGE)/executorch/ready $(EDGE)/litert/ready

$(EDGE)/%/ready: edge-%.txt constraints-%.txt pyproject.toml
	$(PYTHON) -m venv $(EDGE)/$*
	$(EDGE)/$*/bin/pip install --quiet --disable-pip-version-check --no-compile -c constraints-$*.txt -r edge-$*.txt \
	  -e '.[train]'
	touch $@

edge-test: setup edge
	SONDINO_EDGE=$(EDGE) $(BIN)/pytest -n $(WORKERS) --dist loadscope --timeout 1800 tests/exporters/test_edge.py tests/exporters/test_phone.py

clean:
	rm -rf $(VENV) .peers $(EDGE) .docs build web/node_modules examples/javascript/node_modules src/sondino/page \
	  quickstart .mypy_cache .ruff_cache .pytest_cache .cache
