# Two commands are enough: `make up` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
MEMBERS := shared services/sip-edge services/presence-core services/notifier cli
ARGS   ?=
PYTEST_ARGS ?=
MINUTES ?= 3
SEED   ?=

.DEFAULT_GOAL := help
.PHONY: help up test lint format lock docs bench chaos compose-test clean

help: ## this list
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  make %-14s %s\n", $$1, $$2}'

up: $(VENV)/run.stamp ## run the whole set on this machine (ARGS="--cores 4" and so on)
	@exec $(BIN)/vedette up $(ARGS)

test: $(VENV)/dev.stamp ## run all tests on embedded Postgres and Redis (PYTEST_ARGS="-k publish")
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/dev.stamp ## ruff, mypy, import-linter, generated pages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(addsuffix /,$(MEMBERS)) tests bench
	$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m tests.generated_pages --check

format: $(VENV)/dev.stamp ## rewrite the sources in the one style
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: $(VENV)/dev.stamp ## write docs/parameters.md and docs/rfc-coverage.md
	@$(BIN)/python -m tests.generated_pages

bench: $(VENV)/dev.stamp ## measure beside Kamailio (needs sip-tester and kamailio from Debian)
	@$(BIN)/python -m bench $(ARGS)

chaos: $(VENV)/dev.stamp ## faults at random under a load (MINUTES=3 SEED=7 ARGS=--json)
	@$(BIN)/python -m tests.system.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(ARGS)

compose-test: $(VENV)/dev.stamp ## docker-compose up, scale, kill and restart, from outside (needs a Docker engine)
	@$(BIN)/python -m tests.compose $(ARGS)

lock: $(VENV)/dev.stamp ## resolve requirements.in and requirements-dev.in anew
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --no-emit-find-links --output-file requirements.lock requirements.in
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --no-emit-find-links --output-file requirements-dev.lock requirements-dev.in

clean: ## remove the virtual environment and the caches (data in .vedette stays)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 12); \
		sys.exit(0 if ok else "vedette needs Python 3.11 or 3.12; $(PYTHON) is %d.%d. Say which: make up PYTHON=python3.11" % sys.version_info[:2])'
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements.lock $(addsuffix /pyproject.toml,$(MEMBERS)) | $(VENV)/bin/python
	@echo "Installing what requirements.lock pins (once; about a minute)"
	@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation $(addprefix -e ./,$(MEMBERS))
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/run.stamp
	@echo "Installing the test tools of requirements-dev.lock"
	@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@
