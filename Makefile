PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BACKENDS := torch tensorflow jax

# Without the constraints, pip may resolve torch to a build that brings gigabytes of CUDA along.
INSTALL := $(BIN)/python -m pip install --quiet -c constraints.txt -e
# An installation is stale when what it was resolved from has changed.
INPUTS := pyproject.toml setup.py constraints.txt

export TF_CPP_MIN_LOG_LEVEL ?= 2

# JAX compiles every model of the tests for a few calls: optimizing takes longer than it saves, and
# what one worker has compiled the other reads.
export JAX_DISABLE_MOST_OPTIMIZATIONS ?= 1
export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.pytest_cache/jax
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0
export JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES ?= -1

# Most of a test's time is building and compiling, on one thread: one worker for each core, and one
# thread for each worker.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal

.PHONY: demo test docs clean

demo: $(VENV)/.installed-demo
	KERAS_BACKEND=torch $(BIN)/moda demo --force

# One process for each backend, for Keras fixes its backend on import; a failure stops none of the others.
test: $(VENV)/.installed-dev
	@failed=""; \
	for backend in $(BACKENDS); do \
		echo "== tests on $$backend"; \
		KERAS_BACKEND=$$backend $(PYTEST) tests || failed="$$failed $$backend"; \
	done; \
	echo "== doctests on torch"; \
	KERAS_BACKEND=torch $(PYTEST) --doctest-modules moda_keras \
		|| failed="$$failed doctests"; \
	if [ -n "$$failed" ]; then echo "== failed:$$failed"; exit 1; fi

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

clean:
	rm -rf $(VENV) build dist *.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-demo: $(INPUTS) | $(BIN)/python
	$(INSTALL) ".[torch,all]"
	touch $@

$(VENV)/.installed-docs: $(INPUTS) | $(BIN)/python
	$(INSTALL) ".[docs]"
	touch $@

$(VENV)/.installed-dev: $(INPUTS) | $(BIN)/python
	$(INSTALL) ".[dev]"
	touch $@ $(VENV)/.installed-demo
