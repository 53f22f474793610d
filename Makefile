# `make demo` and `make test` work on a fresh clone: they need Python 3.10+, a C++20 compiler and PyPI.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEVELOPER := $(VENV)/.developer
PROMPT ?= The bridge out of Marin is the

.PHONY: demo test lint bench clean

demo: $(INSTALLED)
	$(BIN)/ggufjac pull smollm2-135m
	$(BIN)/ggufjac analyze smollm2-135m "$(PROMPT)"

test: $(DEVELOPER)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/ggufjac pull smollm2-135m gemma3-270m
	$(BIN)/pytest --numprocesses auto

bench: $(DEVELOPER)
	$(BIN)/python -m benchmarks

# torch is pinned and installed first: left to itself pip may take a build with several GB of CUDA libraries
$(INSTALLED): requirements.txt pyproject.toml CMakeLists.txt $(wildcard native/*)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $$(grep '^torch==' requirements.txt)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(DEVELOPER): $(INSTALLED) requirements-dev.txt
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) build
