# `make demo` and `make test` work on a fresh clone: they need Python 3.10+, a C++20 compiler and PyPI.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet
INSTALLED := $(VENV)/.installed
DEVELOPER := $(VENV)/.developer
PROMPT ?= The bridge out of Marin is the

.PHONY: demo test lint sanitize bench packages llama extension clean

demo: $(INSTALLED)
	$(BIN)/ggufjac pull smollm2-135m
	$(BIN)/ggufjac analyze smollm2-135m "$(PROMPT)"

test: lint
	$(BIN)/ggufjac pull smollm2-135m gemma3-270m
	$(BIN)/pytest --numprocesses auto

lint: $(DEVELOPER)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror native/*

# An environment of its own, so that the extension in .venv stays as it is: behind what is compiled here it has what .venv
# has, but not its editable ggufjac, as .pth files are not followed there. Python itself leaks on exit.
SANITIZED := build/sanitized
PURELIB := -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
sanitize: $(DEVELOPER)
	$(BIN)/python -m venv $(SANITIZED)
	$(BIN)/python $(PURELIB) >"$$($(SANITIZED)/bin/python $(PURELIB))/dependencies.pth"
	$(SANITIZED)/bin/python -m pip install --quiet --ignore-installed --no-deps --no-build-isolation \
	    --config-settings build-dir=build/sanitize --config-settings cmake.define.GGUFJAC_SANITIZE=ON .
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libstdc++.so)" ASAN_OPTIONS=detect_leaks=0 \
	    UBSAN_OPTIONS=print_stacktrace=1 $(SANITIZED)/bin/python -I -m pytest tests/test_native.py tests/test_isa.py \
	    tests/test_expand.py

bench: $(DEVELOPER)
	$(BIN)/python -m benchmarks

$(INSTALLED): requirements.txt pyproject.toml CMakeLists.txt $(wildcard native/*)
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) $$(sed -n '/builds the extension/,$$p' requirements.txt | grep ==)
	$(MAKE) --jobs=3 llama extension packages
	$(PIP) --requirement requirements.txt
	touch $@

# torch is pinned and installed first: left to itself pip may take a build with several GB of CUDA libraries. What
# compiles comes in beside it.
packages:
	$(PIP) $$(grep '^torch==' requirements.txt)
	grep -v '^llama_cpp_python==' requirements.txt >$(VENV)/requirements.txt
	$(PIP) --requirement $(VENV)/requirements.txt

extension:
	$(PIP) --no-deps --no-build-isolation --editable .

# llama.cpp takes longest, as it is compiled. The short way leaves out what is not needed here, hence a cache of its own:
# from pip's the wheel would come into other projects, which may need it.
LLAMA := $$(grep '^llama_cpp_python==' requirements.txt)
LLAMA_CACHE := "$${XDG_CACHE_HOME:-$$HOME/.cache}/ggufjac/pip"
SHORT_WAY := $$CMAKE_ARGS -DCMAKE_PROJECT_llama_cpp_INCLUDE='$(CURDIR)/cmake/llama-cpp-python.cmake'
llama:
	CMAKE_ARGS="$(SHORT_WAY)" $(PIP) --no-deps --cache-dir $(LLAMA_CACHE) $(LLAMA) 2>$(VENV)/llama.log || { \
	    echo "llama.cpp did not build the short way ($(VENV)/llama.log); it is built in full, which takes longer" >&2; \
	    $(PIP) --no-deps $(LLAMA); }

$(DEVELOPER): $(INSTALLED) requirements-dev.txt
	$(PIP) --requirement requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) build
