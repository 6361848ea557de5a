# Two commands: `make run` and `make test`. Settings can be given on the line: make run API_PORT=18000
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run test test-long test-systemd-all bench chaos flood fuzz disasters soak check audit lock guide reference release clean

PYTHON ?= python3
BOOTSTRAP = $(PYTHON) sandbox/install/bootstrap.py

# The names (not the values) of what was given on the line, so that a typo is refused.
GIVEN = $(strip $(foreach v,$(filter-out PYTHON,$(.VARIABLES)),$(if $(filter command,$(firstword $(origin $(v)))),$(v))))

# OSV's list: PyPI's has no builds for the CPU, and what it does not have would pass.
AUDIT = .tools/uv tool run --from pip-audit==2.10.1 pip-audit --vulnerability-service osv --strict --disable-pip --require-hashes

# With it every start would compile all of vLLM's modules again (13 s in place of 7 s).
unexport PYTHONDONTWRITEBYTECODE

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

run: export AI_SANDBOX_GIVEN = $(GIVEN)
run: ## Install what is missing, then serve the API and the chat page until Ctrl-C
	@$(BOOTSTRAP) api ui
	@exec .venv/bin/ai-sandbox up --given "$$AI_SANDBOX_GIVEN"

test: ## Run the tests (TESTS=... for some: paths and options of pytest)
	@$(BOOTSTRAP) api ui dev
	@.venv-dev/bin/python -m tests.tiers $(TESTS)

test-long: ## Run the tests that take too long for each change, as before each release
	@$(BOOTSTRAP) api ui dev
	@.venv-dev/bin/python -m tests.tiers -m long $(or $(TESTS),tests)

test-systemd-all: ## Run all of tests/systemd on Debian 11, 12 and 13, as before each release
	@$(BOOTSTRAP) api ui dev
	@for suite in bullseye bookworm trixie; do echo "Debian $$suite"; AI_SANDBOX_SUITE=$$suite .venv-dev/bin/python -m tests.tiers -m '' tests/systemd || exit 1; done

bench: ## Measure the API beside vLLM's own server, in turns (QUICK=1: fewer times; MODEL=...)
	@$(BOOTSTRAP) api dev
	@QUICK="$(QUICK)" MODEL="$(MODEL)" FLAGS="$(FLAGS)" .venv-dev/bin/python -W ignore -m tests.bench

chaos: ## Kill the engine 50 times under load, and say what was lost (KILLS=...)
	@$(BOOTSTRAP) api dev
	@KILLS="$(KILLS)" .venv-dev/bin/python -m tests.chaos

flood: ## 5,000 connections and 2,000 requests at once, and what they cost others
	@$(BOOTSTRAP) api dev
	@.venv-dev/bin/python -m tests.flood

fuzz: ## Send what a fuzzer makes of the API's document (CASES=... SEED=...)
	@$(BOOTSTRAP) api dev
	@CASES="$(CASES)" SEED="$(SEED)" .venv-dev/bin/python -m tests.fuzz

disasters: ## Full disks, no memory and 20 power cuts on a machine with systemd (CUTS=...)
	@$(BOOTSTRAP) api ui dev
	@CUTS="$(or $(CUTS),20)" .venv-dev/bin/python -m tests.tiers -s -m '' tests/systemd/chaos tests/systemd/test_power_cuts.py

soak: ## Load the service in many ways for 30 minutes, and say what it cost (MINUTES=...)
	@$(BOOTSTRAP) api dev
	@MINUTES="$(MINUTES)" .venv-dev/bin/python -m tests.soak

check: ## Check style, types and shell scripts
	@$(BOOTSTRAP) dev
	.venv-dev/bin/ruff check .
	.venv-dev/bin/ruff format --check .
	.venv-dev/bin/mypy sandbox tests
	.venv-dev/bin/python -m tests.system_tools shellcheck
	shellcheck .ci/run $$(git ls-files -co --exclude-standard '*.sh')

audit: ## Look up in public lists which of the packages have known holes
	@$(BOOTSTRAP) uv
	@for set in uv base api-gpu ui; do echo "requirements/$$set.txt"; $(AUDIT) -r requirements/$$set.txt || exit 1; done

lock: ## Choose newest versions anew and write requirements/*.txt
	@$(BOOTSTRAP) uv
	@UV=$(CURDIR)/.tools/uv requirements/lock.sh

guide: ## Train the built-in guide model from docs/faq.md
	@$(BOOTSTRAP) dev
	.venv-dev/bin/python -m sandbox.models.guide.train

reference: ## Write the pages and the data that are generated
	@$(BOOTSTRAP) dev
	.venv-dev/bin/python -W ignore -m sandbox.engine.model_facts
	.venv-dev/bin/python -W ignore -m sandbox.engine.known_models
	.venv-dev/bin/python -m sandbox.models.plan.page
	.venv-dev/bin/python -m sandbox.reference

release: ## Pack a release for boxes: RELEASE_URL=... is where its archive will be
	@$(PYTHON) -I sandbox/install/pack.py release build/release "$$RELEASE_URL"

clean: ## Remove all that was installed and built here; data/ and ai-sandbox.env stay
	rm -rf .venv .venv-ui .venv-dev .tools .cache build
