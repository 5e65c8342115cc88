# Everything a fresh machine needs: Python 3.11 or later, and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: run test lint bench docs picture clean

run: $(STAMP)
	@$(BIN)/hermes $(ARGS)

test: $(STAMP)
	@$(BIN)/python -m pytest $(ARGS)
	@scripts/seed-test.sh $(BIN)/python

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -n0 -q tests/test_layering.py
	@$(BIN)/python scripts/make_docs.py --check

bench: $(STAMP)
	@$(BIN)/python scripts/bench/run.py $(ARGS)

docs: $(STAMP)
	@$(BIN)/python scripts/make_docs.py

picture: $(STAMP)
	@$(BIN)/python scripts/make_picture.py

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache

$(STAMP): pyproject.toml scripts/make-venv.sh
	@scripts/make-venv.sh $(PYTHON) $(VENV)
	@touch $(STAMP)
