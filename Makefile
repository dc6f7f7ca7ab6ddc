# Needs GNU make and Python 3.11 or later (with venv); everything else is fetched into .venv
# and sandbox/node_modules. A .venv of `uv sync` is taken as it is. `make` alone lists the targets.

.DEFAULT_GOAL := help
.SUFFIXES:
SHELL := /bin/sh

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
# A particular interpreter: make venv PYTHON=/path/to/python3.12
PYTHON ?=
# Passed on to the program of the target: make test ARGS="-k reveal"
ARGS ?=

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## "; print "Targets (pass options with ARGS=\"…\"):" } \
		/^[a-z.-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# pip fetches uv, which does the rest in a tenth of the time; where it cannot (an index that only
# pip is told of), pip does it all.
PIP_INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r

.PHONY: venv install
venv: $(STAMP) ## Create .venv with the pinned packages (done by the other targets too)
	@:
install: venv

$(STAMP): requirements-dev.txt
	@python=; for candidate in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python); do \
		if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			python=$$candidate; break; fi; done; \
	if [ -z "$$python" ]; then \
		echo "Python 3.11 or later is needed; none was found. Name one: make venv PYTHON=/path/to/python" >&2; \
		exit 1; fi; \
	if ! $(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		$$python -m venv --clear $(VENV) || { \
			echo "$$python cannot create a virtual environment; on Debian: apt-get install python3-venv" >&2; \
			exit 1; }; fi
	@echo "Installing the pinned packages into $(VENV) (once) …"
	@if $(PY) -m pip --version >/dev/null 2>&1; then \
		sed -n '/^uv==/,/[^\\]$$/p' requirements-dev.txt > $(VENV)/uv.txt; \
		$(PIP_INSTALL) $(VENV)/uv.txt; fi
	@VIRTUAL_ENV=$(VENV) $(VENV)/bin/uv pip install --compile-bytecode --require-hashes -r requirements-dev.txt \
		|| { echo "uv could not; pip takes longer …"; $(PIP_INSTALL) requirements-dev.txt; }
	@touch $(STAMP)

# Never overwritten: it is the developer's own.
.env:
	@cp .env.example .env
	@echo "Copied .env.example to .env; its values fit the local sandbox."

.PHONY: demo
demo: $(STAMP) .env ## Show a mint become a revealed token, in a local world of its own
	@$(PY) -m sandbox.demo $(ARGS)

.PHONY: screenshots
screenshots: $(STAMP) .env ## Take the pictures of docs/images anew, in a world of their own
	@$(PY) -m sandbox.demo --exit --tokens 80 --free-ports --directory var/screenshots --screenshots docs/images $(ARGS)

.PHONY: sandbox
sandbox: $(STAMP) .env ## Run the local world: EVM node, contract, emulated vendors
	@exec $(PY) -m sandbox $(ARGS)

.PHONY: mint
mint: $(STAMP) ## Mint into the running local world; make mint ARGS="5" mints five tokens
	@$(PY) -m sandbox.rehearsal.mint $(ARGS)

.PHONY: rehearse
rehearse: $(STAMP) ## List what can be made to fail in the local world; ARGS="pinata-key" lets it
	@$(PY) -m sandbox.rehearsal $(ARGS)

.PHONY: migrate
migrate: $(STAMP) .env ## Bring the database's tables up to date
	@$(PY) manage.py migrate $(ARGS)

.PHONY: web
web: $(STAMP) .env ## Migrate, then serve the API, the webhooks and the admin
	@$(PY) manage.py migrate --verbosity 0
	@exec $(PY) -m gunicorn $(ARGS)

.PHONY: worker
worker: $(STAMP) .env ## Run the worker: generation, upload, reveal
	@exec $(PY) manage.py qcluster $(ARGS)

# Rewritten tests are cached, whatever the environment says: it saves half of the start.
PYTEST := PYTHONDONTWRITEBYTECODE= $(PY) -m pytest

.PHONY: parts
parts: $(STAMP)
	@$(PY) -c 'from sandbox.anvil import ensure_anvil, ensure_compiler; ensure_compiler(); ensure_anvil()'

.PHONY: test
test: parts ## Run the fast tests: the suite to run while working
	@$(PYTEST) $(ARGS)

.PHONY: test-all
test-all: parts ## Run the tests that `make test` leaves out: nodes, processes, browser, sandbox, …
	@$(PYTEST) -m "not fast" $(ARGS)

# Where secrets are made up; and what looks like one: examples, CIDs, digests, an alphabet.
MADE_UP := (^|/)tests/|^sandbox/|^benchmarks/|^conftest|^requirements.*\.txt$$|^docs/openapi.json$$|\.(png|jpg|svg)$$
LIKE_SECRETS := ^((P|p)assword|Qm.{44}|sha256-.*|123456789AB.*)$$

# Nothing of the developer's own environment decides about the checks.
LINT := env -i PATH="$$PATH" HOME="$$HOME"

.PHONY: lint
lint: $(STAMP) ## Check style, types, import direction, documents, secrets, migrations and deployment settings
	@failed=0; \
	$(PY) -m ruff check . || failed=1; \
	$(PY) -m ruff format --check --quiet . || { echo "Not formatted: run 'make format'."; failed=1; }; \
	$(LINT) DATABASE_URL=postgres://lint@127.0.0.1/lint $(PY) -m mypy || failed=1; \
	contracts=$$($(VENV)/bin/lint-imports --no-logo 2>&1) || { echo "$$contracts"; failed=1; }; \
	$(LINT) $(PY) -m glisk.tests.lint_source || failed=1; \
	git ls-files -z | grep -zvE '$(MADE_UP)' | xargs -0 -n 120 -P 2 \
		$(VENV)/bin/detect-secrets-hook --exclude-secrets '$(LIKE_SECRETS)' || failed=1; \
	$(LINT) GLISK_ENV_FILE=.env.example $(PY) manage.py makemigrations --check --dry-run || failed=1; \
	$(LINT) DJANGO_SETTINGS_MODULE=glisk.tests.lint_settings $(PY) manage.py lintmigrations --quiet ok ignore || failed=1; \
	$(LINT) GLISK_ENV_FILE=glisk/tests/data/production.env \
		$(PY) manage.py check --deploy --fail-level WARNING || failed=1; \
	exit $$failed

.PHONY: schema
schema: $(STAMP) ## Write the API's schema to docs/openapi.json
	@$(LINT) GLISK_ENV_FILE=.env.example $(PY) manage.py spectacular --format openapi-json --validate --fail-on-warn --file docs/openapi.json

# The lock is the same wherever and whenever it is made: pyproject.toml names each package and the
# day after which releases do not exist (exclude-newer). What counts is what is exported from it,
# with the hash of every file: by that pip and uv install.
UV := $(VENV)/bin/uv
EXPORT := $(UV) export --quiet --frozen --no-annotate --no-emit-project --no-header
requirements = { echo "\# Exported from pyproject.toml by 'make lock', with the hash of every file."; $(EXPORT) $(1); }
RUNTIME := --no-default-groups --extra kms --extra sentry
COOL_DOWN_DAYS := 7

.PHONY: uv
uv:
	@[ -x $(UV) ] || $(MAKE) --no-print-directory venv

.PHONY: lock
lock: uv ## Write requirements*.txt, with hashes, after a change of pyproject.toml's packages
	@$(UV) lock --quiet --upgrade
	@$(call requirements,$(RUNTIME)) > requirements.txt
	@$(call requirements) > requirements-dev.txt

.PHONY: lock-check
lock-check: uv ## Check that requirements*.txt are what pyproject.toml asks for (asks the package index)
	@$(UV) lock --quiet --upgrade
	@if ! $(call requirements,$(RUNTIME)) | cmp -s - requirements.txt \
		|| ! $(call requirements) | cmp -s - requirements-dev.txt; then \
		echo "requirements*.txt are not what pyproject.toml asks for: run 'make lock'." >&2; exit 1; fi

.PHONY: upgrade
upgrade: uv ## Move the day of exclude-newer to a week ago, and lock
	@day=$$($(PY) -c 'import datetime as d; print(d.datetime.now(d.UTC).date() - d.timedelta($(COOL_DOWN_DAYS)))'); \
	sed -i.old "s/^exclude-newer = .*/exclude-newer = \"$${day}T00:00:00Z\"/" pyproject.toml && rm pyproject.toml.old
	@$(MAKE) --no-print-directory lock

.PHONY: audit
audit: uv ## Look for known vulnerabilities of the packages (asks osv.dev)
	@$(UV) lock --quiet --upgrade
	@$(UV) audit --frozen $(ARGS)

.PHONY: configuration
configuration: $(STAMP) ## Write docs/configuration.md from the settings and .env.example
	@$(LINT) $(PY) -m glisk.tests.configuration_reference

.PHONY: format
format: $(STAMP) ## Sort imports, mend what can be mended, format
	@$(PY) -m ruff check --fix --quiet . || true
	@$(PY) -m ruff format .

.PHONY: chaos
chaos: parts .env ## Let everything go wrong while mints flow, and judge; ARGS="--minutes 2 --seed 7"
	@$(PY) -m sandbox.chaos $(ARGS)

.PHONY: bench
bench: $(STAMP) .env ## Measure; one benchmark: make bench ARGS="lone_mint --json out.json"
	@$(PY) -m benchmarks $(ARGS)

.PHONY: mutants
mutants: parts ## See whether the tests notice small changes of the core; ARGS="--sample 150 --seed 1"
	@$(PY) -m benchmarks.mutants $(ARGS)

.PHONY: bench-compare bench-baseline
bench-compare: parts .env ## Measure at small sizes, and say what is worse than the baseline; ARGS="--full"
	@$(PY) -m benchmarks.compare $(ARGS)

bench-baseline: parts .env ## Write benchmarks/baseline.json anew; ARGS="lone_mint --runs 5" that of one
	@$(PY) -m benchmarks.compare --baseline $(ARGS)

.PHONY: clean
clean: ## Stop the embedded databases and delete everything that was generated but .env
	@for directory in var/*postgres var/*/postgres; do \
		if [ -d $$directory ] && [ -x $(PY) ]; then $(PY) -m glisk.database.embedded_postgres stop $$directory; fi; done
	@rm -rf var staticfiles sandbox/node_modules $(VENV) \
		.pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
