# Two commands are enough: `make up` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
MEMBERS := shared services/sip-edge services/presence-core services/notifier cli
ARGS   ?=
PYTEST_ARGS ?=
WORKERS ?= 2
MINUTES ?=
SEED   ?=

.DEFAULT_GOAL := help
.PHONY: help up test lint format lock docs bench micro chaos soak fuzz compose-test clean

help: ## this list
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  make %-14s %s\n", $$1, $$2}'

# Where PYTHONDONTWRITEBYTECODE is set, as in many containers, each process would compile our modules anew.
COMPILE = @$(BIN)/python -m compileall -q $(MEMBERS) || true  # a checkout that cannot be written to works, too

up: $(VENV)/run.stamp ## run the whole set on this machine (ARGS="--cores 4" and so on)
	$(COMPILE)
	@exec $(BIN)/vedette up $(ARGS)

test: $(VENV)/dev.stamp ## run all tests on embedded Postgres and Redis (PYTEST_ARGS="-k publish", WORKERS=2)
	$(COMPILE)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

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

bench: $(VENV)/dev.stamp ## measure beside Kamailio, 40 minutes (ARGS="--parts publish,mixed"; needs sip-tester, kamailio)
	@$(BIN)/python -m bench $(ARGS)

micro: $(VENV)/dev.stamp ## instructions of single functions beside the kept ones (ARGS="--only reader", --memory, --write)
	@$(BIN)/python -m bench.micro $(ARGS)

chaos: $(VENV)/dev.stamp ## faults at random under a load (MINUTES=3 SEED=7 ARGS=--json)
	@$(BIN)/python -m tests.system.chaos --minutes $(or $(MINUTES),3) $(if $(SEED),--seed $(SEED)) $(ARGS)

soak: $(VENV)/dev.stamp ## an hour at a third of the peak, and whether anything grows (MINUTES=60 ARGS=--json)
	@$(BIN)/python -m tests.system.soak --minutes $(or $(MINUTES),60) $(if $(SEED),--seed $(SEED)) $(ARGS)

fuzz: $(VENV)/dev.stamp ## hostile input for a given time (MINUTES=10 SEED=7 ARGS="--json" or "--datagrams 1000000")
	@$(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED)) $(ARGS)

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
