# Entry points for users and developers; `make help` lists them. Nothing needs root.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
BUILD ?= build/dev
SANITIZE_BUILD ?= build/sanitize
# ON makes compiler warnings errors.
WERROR ?= OFF
# Arguments for pytest, and parts of the names of the C++ tests to run (all by default).
PYTEST_ARGS ?= -n 2
TIER_TESTS := tests/ops $(addprefix tests/test_,backend.py blocked_networks.py qdq.py winograd.py)
CPP_TESTS ?=

PY := $(VENV)/bin/python
PIP := $(PY) -m pip --quiet --disable-pip-version-check
PACKAGE_SOURCES := CMakeLists.txt pyproject.toml README.md $(shell find cpp python -not -name '*.pyc' -not -name __pycache__)
CPP_FORMATTED = $(shell find cpp tests/cpp $(wildcard bench) -name '*.cpp' -o -name '*.h')
PYTHON_FORMATTED := python tests tools $(wildcard bench)

.PHONY: help
help: ## Show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

.PHONY: demo
demo: $(VENV)/.installed ## Install the package into .venv and run its demonstration
	$(VENV)/bin/sardonyx demo

.PHONY: test
test: cpptest pytest optest ## Run the C++ tests on every kernel tier, the Python tests, the operators' on lower tiers too

.PHONY: cpptest
cpptest: $(VENV)/.installed ## Run the C++ tests on every kernel tier of this machine
	$(VENV)/bin/cmake $(BUILD) -DSARDONYX_BUILD_TESTS=ON >/dev/null
	$(VENV)/bin/cmake --build $(BUILD) --target sardonyx_tests
	for tier in $$($(BUILD)/sardonyx_tests --tiers); do SARDONYX_ISA=$$tier $(BUILD)/sardonyx_tests $(CPP_TESTS); done

.PHONY: pytest
pytest: $(VENV)/.installed $(VENV)/.test ## Run the Python tests
	$(PY) -m pytest $(PYTEST_ARGS)

.PHONY: differential
differential: $(VENV)/.installed $(VENV)/.test ## Draw nodes of all operator versions for SECONDS=60, SEED= repeats a run
	$(PY) -m tests.differential.fuzz --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED))

.PHONY: optest
optest: $(VENV)/.installed $(VENV)/.test ## Run the operators' tests and ONNX's suite on the tiers below this machine's best
	for tier in baseline avx2; do SARDONYX_ISA=$$tier $(PY) -m pytest $(PYTEST_ARGS) $(TIER_TESTS); done

.PHONY: lint
lint: $(VENV)/.lint ## Check formatting, types and the layout of the tree
	$(PY) tools/check_layout.py
	$(VENV)/bin/ruff check $(PYTHON_FORMATTED)
	$(VENV)/bin/ruff format --check $(PYTHON_FORMATTED)
	$(VENV)/bin/mypy --strict python/sardonyx
	@echo clang-format --dry-run -Werror
	@$(VENV)/bin/clang-format --dry-run -Werror --ferror-limit=1 $(CPP_FORMATTED)

.PHONY: format
format: $(VENV)/.lint ## Format the C++ and Python code
	$(VENV)/bin/ruff check --fix-only $(PYTHON_FORMATTED)
	$(VENV)/bin/ruff format $(PYTHON_FORMATTED)
	$(VENV)/bin/clang-format -i $(CPP_FORMATTED)

.PHONY: sanitize
sanitize: $(VENV)/.build ## Run the C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer
	$(VENV)/bin/cmake -S . -B $(SANITIZE_BUILD) -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(VENV))/bin/ninja \
	  -DPython_EXECUTABLE=$(abspath $(PY)) -DSARDONYX_SANITIZE=address,undefined -DSARDONYX_BUILD_MODULE=OFF \
	  -DSARDONYX_BUILD_TESTS=ON >/dev/null
	$(VENV)/bin/cmake --build $(SANITIZE_BUILD)
	$(SANITIZE_BUILD)/sardonyx_tests $(CPP_TESTS)

# The module under the sanitizers, beside the Python files that belong to it.
SANITIZED := build/sanitized

.PHONY: nightly
nightly: $(VENV)/.installed $(VENV)/.test ## Run ONNX's suite and the operators' tests under the sanitizers (half an hour)
	$(VENV)/bin/cmake -S . -B $(SANITIZE_BUILD)-module -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(VENV))/bin/ninja \
	  -DPython_EXECUTABLE=$(abspath $(PY)) -DSARDONYX_SANITIZE=address,undefined >/dev/null
	$(VENV)/bin/cmake --build $(SANITIZE_BUILD)-module --target _core
	rm -rf $(SANITIZED) && mkdir -p $(SANITIZED)
	cp -r python/sardonyx $(SANITIZED) && cp $(SANITIZE_BUILD)-module/_core*.so $(SANITIZED)/sardonyx
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so) $$(gcc -print-file-name=libstdc++.so)" \
	  ASAN_OPTIONS=detect_leaks=0 PYTHONPATH=$(SANITIZED) $(PY) -m pytest $(PYTEST_ARGS) tests/test_backend.py tests/ops tests/gradients

.PHONY: bench
bench: $(VENV)/.installed $(VENV)/.bench ## Run all benchmarks (an hour) on MODELS=build/models into RESULTS=build/bench
	$(VENV)/bin/cmake $(BUILD) -DSARDONYX_BUILD_BENCH=ON >/dev/null
	$(VENV)/bin/cmake --build $(BUILD)
	$(PY) bench/run_all.py $(or $(RESULTS),build/bench) --models $(or $(MODELS),build/models) --kernels $(BUILD)/bench_kernels

.PHONY: clean
clean: ## Remove everything that make built
	rm -rf build dist $(VENV) .pytest_cache .mypy_cache .ruff_cache

# The build requirements, so that the package builds against this environment and its build folder can be used again.
$(VENV)/.build: pyproject.toml
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'
	$(PY) tools/build_requirements.py >$(VENV)/build-requirements.txt
	$(PIP) install --requirement $(VENV)/build-requirements.txt --group build
	touch $@

$(VENV)/.installed: $(VENV)/.build $(PACKAGE_SOURCES)
	PATH="$(abspath $(VENV))/bin:$$PATH" $(PIP) install --no-build-isolation -C build-dir=$(BUILD) \
	  -C cmake.define.SARDONYX_WERROR=$(WERROR) '.[cli,demo]'
	touch $@

$(VENV)/.test: $(VENV)/.build
	$(PIP) install --group test
	$(PIP) install --no-deps --group xgboost
	touch $@

$(VENV)/.lint: $(VENV)/.build
	$(PIP) install --group lint
	touch $@

$(VENV)/.bench: $(VENV)/.installed
	$(PIP) install --group bench
	touch $@
