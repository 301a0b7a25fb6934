# Everything from nothing on a machine with Python >= 3.11: `make demo`, `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
AAREN_DATA ?= $(abspath ../shared/data)
export AAREN_DATA

.PHONY: demo test engine sanitize bench lint docs lock clean help

help:  ## what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(STAMP): pyproject.toml requirements/constraints.txt CMakeLists.txt $(wildcard native/*)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "aaren needs Python 3.11 or newer, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade "pip>=24"
	$(BIN)/pip install --quiet -c requirements/constraints.txt torch
	$(BIN)/pip install --quiet -c requirements/constraints.txt -e '.[dev,docs]'
	touch $@

demo: $(STAMP)  ## train on a real series, stream it, write demo-output/report.html
	$(BIN)/aaren demo

# the floors whose annotations have shapes
SHAPES := aaren.ops,aaren.nn,aaren.models,aaren.evaluation,aaren.training
test: $(STAMP)  ## all tests: with run-time shape checks, then those that compile, with coverage of both
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 -m "not compiled" --jaxtyping-packages=$(SHAPES),beartype.beartype --cov --cov-report=
	$(BIN)/python -m pytest -q -m compiled --cov --cov-append --cov-report=term --cov-fail-under=95

SPARK := build/spark
engine: $(STAMP)  ## tests of the streams inside Spark: a download of 0.5 GB, needs Java 17 or newer
	$(BIN)/pip install --quiet --no-deps --target $(SPARK) --upgrade -r requirements/spark.txt
	OMP_NUM_THREADS=1 PYTHONPATH=$(CURDIR)/$(SPARK) PYSPARK_PYTHON=$(CURDIR)/$(BIN)/python \
		$(BIN)/python -m pytest -q -m engine tests/engines

sanitize: $(STAMP)  ## tests of the native kernels under the address and undefined-behaviour sanitizers of GCC
	@test -e "$$(g++ -print-file-name=libasan.so 2>&1)" -a -e "$$(g++ -print-file-name=libubsan.so 2>&1)" || \
		{ echo "make sanitize: needs g++ with its sanitizer libraries, libasan and libubsan (Fedora: packages of these names)" >&2; exit 1; }
	CXX=g++ $(BIN)/pip install --quiet --no-deps --upgrade --target build/sanitize/site -C build-dir=build/sanitize/cmake \
		-C cmake.build-type=RelWithDebInfo -C install.strip=false -C cmake.define.AAREN_SANITIZE=ON .
	@ls build/sanitize/site/aaren/_native* > /dev/null || { echo "make sanitize: the extension was not built" >&2; exit 1; }
	# -S: without the .pth files, that is, without the editable installation
	PYTHONPATH=$(CURDIR)/build/sanitize/site:$$($(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))") \
		LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libubsan.so) $$(g++ -print-file-name=libstdc++.so)" \
		ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 OMP_NUM_THREADS=1 \
		$(BIN)/python -S -m pytest -q --capture=sys -m "not compiled" --ignore tests/ops/test_memory.py tests/ops tests/nn/test_fused_step.py tests/streaming/test_fused_forecast.py

RECORD ?= runs/benchmarks
bench: $(STAMP)  ## time and memory against peers and physical limits, after a correctness gate; JSON in runs/benchmarks
	$(BIN)/python benchmarks/prefix_attention.py --json $(RECORD)/operator.json
	for name in layer training step memory; do \
		$(BIN)/python benchmarks/$$name.py --json $(RECORD)/$$name.json || exit 1; \
	done
	if command -v valgrind > /dev/null; then $(BIN)/python benchmarks/instructions.py; fi

lint: $(STAMP)  ## style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(STAMP)  ## the documentation, docs/_build/html/index.html
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

lock:  ## renew requirements/constraints.txt from a fresh environment
	rm -rf .lock-venv && $(PYTHON) -m venv .lock-venv
	.lock-venv/bin/pip install --quiet torch==2.13.0
	.lock-venv/bin/pip install --quiet -e '.[dev,docs]'
	{ head -n 1 requirements/constraints.txt; .lock-venv/bin/pip freeze --exclude-editable | sed 's/+cpu//'; } > requirements/new.txt
	mv requirements/new.txt requirements/constraints.txt
	rm -rf .lock-venv

clean:  ## remove what the other targets made
	rm -rf $(VENV) build docs/_build demo-output .pytest_cache .mypy_cache .ruff_cache .coverage
