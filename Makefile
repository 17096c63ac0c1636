# The two commands: `make run` and `make test`. Everything they need is installed into .venv by pip.
.DEFAULT_GOAL := help
.PHONY: help setup run test check rest lint types stale pgbouncer sdk-eras node deployment playground browser fix docs \
	transcripts bench bench-large bench-runs bench-data lock clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.tests-installed ## Create .venv with everything that development needs

run: $(VENV)/.installed ## Start the server on embedded SQLite
	@$(BIN)/threadkeep serve

test: $(VENV)/.tests-installed ## Run the tests
	$(BIN)/pytest

check: test rest ## Everything CI runs: tests, lint, types, docs, SDK eras, Node, other programs, browser

rest: lint types stale sdk-eras node pgbouncer deployment browser

lint: $(VENV)/.tests-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.tests-installed
	$(BIN)/mypy

sdk-eras: $(VENV)/.installed ## Run the API tests with older versions of the Python SDK
	$(BIN)/python tests/eras/run.py

node: $(VENV)/.installed ## Run the API tests with the Node SDK, newest and v4
	$(BIN)/python tests/node/run.py

pgbouncer: $(VENV)/.tests-installed ## Run the tests of PostgreSQL behind a pooler (root: installs it with apt-get)
	$(BIN)/python tests/pooler/run.py

deployment: $(VENV)/.tests-installed ## Test what the docs show for nginx, Caddy, Prometheus and systemd (has apt-get fetch them)
	$(BIN)/python tests/deployment/run.py

browser: $(VENV)/.browser-installed ## Test the playground in Chromium (root: installs it with apt-get)
	$(BIN)/python tests/browser/run.py

playground: $(VENV)/bin/python ## Build the playground from web/ into the package
	$(BIN)/python web/build.py

stale: $(VENV)/.tests-installed
	$(BIN)/python docs/generate.py --check
	$(BIN)/python web/build.py --check

fix: $(VENV)/.tests-installed ## Format, and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.tests-installed ## Rewrite the generated parts of the docs
	$(BIN)/python docs/generate.py

transcripts: $(VENV)/.tests-installed ## Rewrite the texts that event streams are compared with
	REWRITE_TRANSCRIPTS=1 $(BIN)/pytest --quiet tests/wire/test_transcripts.py

bench: $(VENV)/.bench-installed ## Measure the server beside others, and write the page (needs wrk; 40 minutes)
	$(BIN)/python -m bench sqlite postgres --write

bench-large: $(VENV)/.bench-installed ## The same with a million threads (needs wrk; 20 minutes)
	$(BIN)/python -m bench large --write

bench-runs: $(VENV)/.tests-installed ## Measure streamed runs, and write their page (10 minutes)
	$(BIN)/python -m bench.runs --write

bench-data: $(VENV)/.tests-installed ## Measure search, copies, import and export, and write their page (20 minutes)
	$(BIN)/python -m bench.transfers sqlite postgres --write

lock: $(VENV)/.tests-installed ## Choose new versions of all dependencies
	$(BIN)/python requirements/lock.py

clean: ## Remove what the targets made
	rm -rf $(VENV) .cache web/node_modules

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Threadkeep needs Python 3.11 or newer; name one: make run PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

# The package itself is installed with its build tool, which is locked like the rest.
$(VENV)/.installed: $(VENV)/bin/python requirements/run.txt requirements/build.txt pyproject.toml
	@echo "installing the server's dependencies into $(VENV)"
	@$(PIP) -r requirements/run.txt -r requirements/build.txt
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.bench-installed: $(VENV)/.installed requirements/bench.txt
	@echo "installing what the benchmark compares with into $(VENV)"
	@$(PIP) -r requirements/bench.txt
	@touch $@

$(VENV)/.browser-installed: $(VENV)/.tests-installed requirements/browser.txt
	@echo "installing what drives a browser into $(VENV)"
	@$(PIP) -r requirements/browser.txt
	@touch $@

$(VENV)/.tests-installed: $(VENV)/.installed requirements/test.txt
	@echo "installing what the tests need into $(VENV)"
	@$(PIP) -r requirements/test.txt
	@touch $@
