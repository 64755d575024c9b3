# `make run` and `make test` do everything on a fresh machine; both are safe to repeat.
# The first of these that runs (a name on the path may be a shim that does not).
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do $$p -c '' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= configs/wdsr.py

.PHONY: run test wheel docs study lint types lock clean

run: $(VENV)/installed
	$(BIN)/python main.py --config=$(CONFIG)

test: $(VENV)/installed
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

# The wheel in an empty environment, with the core's packages only.
wheel:
	PYTHON=$(PYTHON) tests/wheel.sh

# The site in build/site; a link that leads nowhere is an error.
docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# What the report's results chapter compares, trained three times and written up in docs/study;
# STUDY='--astro DIR --natural DIR --published SRGAN'.
study: $(VENV)/installed
	$(BIN)/python -m experiments.study --train --seeds 3 $(STUDY)

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed
	$(BIN)/mypy

# The stamp is touched last: an interrupted installation is taken up again.
$(VENV)/installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || \
	    { echo "error: Python 3.11 or 3.12 is needed; name one, as in: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

# Renew the lock from pyproject.toml (bounds there, exact versions here).
lock:
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --no-header --quiet -o requirements.txt

clean:
	rm -rf $(VENV)
