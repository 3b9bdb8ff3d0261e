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
	@echo "[1/6] launches with a known signal"
	@rm -rf $(DEMO)
	@$(BIN)/hybridtune synth $(DEMO)/raw --tokens 1000
	@echo "[2/6] dataset"
	@$(BIN)/hybridtune prepare $(DEMO)/raw/launches $(DEMO)/dataset --anchor-stride 30
	@echo "[3/6] search, retraining, blend, report"
	@$(BIN)/hybridtune launch $(DEMO)/dataset --run $(DEMO)/run --space spaces/demo.yaml --trials 12 \
	  --iterations 10 --samples-per-iteration 4096 --grace-period 2 --top-k 2 --seeds 2
	@echo "[4/6] bundle"
	@$(BIN)/hybridtune export $(DEMO)/run $(DEMO)/bundle
	@echo "[5/6] predictions"
	@$(BIN)/hybridtune predict $(DEMO)/bundle $(DEMO)/raw/launches --last --out $(DEMO)/predictions.parquet
	@echo "[6/6] the result beside the best that anyone could do (oracle)"
	@$(BIN)/hybridtune report $(DEMO)/run --oracle $(DEMO)/raw/oracle.parquet
	@echo "bundle: $(DEMO)/bundle"

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
