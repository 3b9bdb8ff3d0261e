PYTHON ?= python3
BIN := .venv/bin
PIP = $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
DEMO := demo

.PHONY: help install search lint check test clean

help:
	@echo "make search   the whole path on generated launches: search, report, bundle, predictions (minutes)"
	@echo "make check    lint, types, contracts and the quick tests (a minute and a half)"
	@echo "make test     everything that CI runs"
	@echo "make clean    removes .venv and demo"

install: $(BIN)/.complete

# Fresh whenever the pins change. torch needs pip with the constraints: a looser range can pull gigabytes.
$(BIN)/.complete: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, $(PYTHON) is older: make PYTHON=python3.11 ..."; exit 1; }
	@echo "[install] 1/3 .venv"
	@$(PYTHON) -m venv --clear .venv
	@echo "[install] 2/3 torch"
	@$(PIP) torch
	@echo "[install] 3/3 everything else, about a minute"
	@$(PIP) -e '.[dev]'
	@touch $@

search: install
	@rm -rf $(DEMO)
	@$(BIN)/hybridtune demo $(DEMO) --full

# One for each of two cores: slow tests mostly wait for processes of their own.
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal

lint: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

check: lint
	@$(PYTEST) -m 'not slow'

test: lint
	@$(PYTEST)

clean:
	rm -rf .venv $(DEMO)
