# Two commands do all the set-up: `make demo` and `make test`. Only Python >= 3.11 is assumed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv pip
WORKERS ?= auto
# A test has 60 s; a machine that others share may need more, so the whole suite is more patient.
TEST_TIMEOUT ?= 240

# Tests start thousands of Python processes. Where bytecode is not written, as in many containers, each compiles hundreds of modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help system-deps demo test check docs format lock contracts mutants bench gas clean

help:
	@echo "make demo       install what is needed and run a real job end to end on a local network"
	@echo "make test       run the tests (sets itself up)"
	@echo "make system-deps  install Debian packages that optional levels, engines and tests use (root; nothing else needs it)"
	@echo "make check      ruff, mypy --strict, import rules, contracts as committed"
	@echo "make docs       build the documentation as a site in site/, strictly"
	@echo "make contracts  compile the contracts anew into the package"
	@echo "make mutants    break contracts and model on purpose; a named test must notice each"
	@echo "make bench      measure the phases of one task"
	@echo "make gas        measure every call of the contracts beside the published ones"
	@echo "make lock       make the hashed pins anew"

$(VENV)/.bootstrap: requirements/bootstrap.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Fairgrid needs Python 3.11 or newer; '$(PYTHON)' is older. Name one: make PYTHON=python3.12 demo"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "Could not make a virtual environment. On Debian: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@touch $@

$(VENV)/.runtime: $(VENV)/.bootstrap requirements/runtime.txt pyproject.toml
	$(UV) install -q --python $(BIN)/python --require-hashes -r requirements/runtime.txt
	$(UV) install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.txt
	$(UV) install -q --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@touch $@

system-deps:
	scripts/system_deps.sh

demo: $(VENV)/.runtime
	$(BIN)/fairgrid runtime install
	$(BIN)/fairgrid demo

test: $(VENV)/.dev
	$(BIN)/fairgrid runtime install
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not e2e and not slow" --timeout $(TEST_TIMEOUT) --reruns 1 -rR
	scripts/slow_tests.sh $(BIN)/python $(TEST_TIMEOUT)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/compile_contracts.py --check

docs: $(VENV)/.dev
	$(BIN)/mkdocs build -q
	@echo "The site is in site/; \`$(BIN)/python -m http.server -d site\` serves it."

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

contracts: $(VENV)/.dev
	$(BIN)/python scripts/compile_contracts.py

mutants: $(VENV)/.dev
	$(BIN)/python -m tests.contracts.mutants

bench: $(VENV)/.runtime
	$(BIN)/python bench/first_light.py

gas: $(VENV)/.dev
	$(BIN)/python -m bench.gas --write docs/gas.md

lock: $(VENV)/.bootstrap
	$(UV) compile -q --universal --generate-hashes --no-header --python-version 3.11 requirements/bootstrap.in -o requirements/bootstrap.txt
	$(UV) compile -q --universal --generate-hashes --no-header --python-version 3.11 pyproject.toml -o requirements/runtime.txt
	$(UV) compile -q --universal --generate-hashes --no-header --python-version 3.11 --group dev -c requirements/runtime.txt pyproject.toml -o requirements/dev.txt
	$(UV) compile -q --universal --generate-hashes --no-header --python-version 3.11 --group bench -c requirements/runtime.txt pyproject.toml -o requirements/bench.txt

clean:
	rm -rf $(VENV) site .mypy_cache .ruff_cache .pytest_cache .hypothesis
