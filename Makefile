# One door: `make demo` and `make test` need nothing but Python 3.11 or 3.12.
.DEFAULT_GOAL := help
VENV ?= .venv
BIN := $(VENV)/bin
# The first Python on the path that is 3.11 or 3.12; PYTHON=/path/to/python overrides.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null \
	&& { command -v $$p; break; }; done)
CHECKED := build/checked
export HF_HUB_DISABLE_TELEMETRY = 1

help:  ## what can be done here
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/.installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "moescope needs Python 3.11 or 3.12 (none found on the path; set PYTHON=/path/to/python)"; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' || { echo "moescope needs Python 3.11 or 3.12; $(PYTHON) is another"; exit 2; }
	@echo "setting up $(VENV) with $(PYTHON) ..."
	@"$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: $(VENV)/.installed  ## make the environment (.venv) from the lock

demo: setup  ## from nothing to a report on the embedded corpus
	@$(BIN)/moescope pipeline experiment=demo
	@echo "report: $$(pwd)/runs/demo/report/report.html"

test: setup  ## run the tests
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

check: setup  ## lint, format, types, import direction
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@rm -rf build && $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --target $(CHECKED) .
	@MYPYPATH=$(CHECKED) $(BIN)/mypy --package moescope  # what is installed: the folders as one package
	@$(BIN)/python -m pytest tests/test_house.py

format: setup  ## format and mend what can be mended
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: setup  ## write requirements.lock from what is installed
	@$(BIN)/python -m pip freeze --all --exclude pip --exclude-editable | sed 's/+cpu$$//' > requirements.lock

clean:  ## remove the environment and caches (runs/ stays)
	@rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache

.PHONY: help setup demo test check format lock clean
