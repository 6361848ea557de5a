# Two commands: `make run` and `make test`. Settings can be given on the line: make run API_PORT=18000
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run test check lock guide reference clean

PYTHON ?= python3
BOOTSTRAP = $(PYTHON) sandbox/install/bootstrap.py

# The names (not the values) of what was given on the line, so that a typo is refused.
GIVEN = $(strip $(foreach v,$(filter-out PYTHON,$(.VARIABLES)),$(if $(filter command,$(firstword $(origin $(v)))),$(v))))

# With it every start would compile all of vLLM's modules again (13 s in place of 7 s).
unexport PYTHONDONTWRITEBYTECODE

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

run: export AI_SANDBOX_GIVEN = $(GIVEN)
run: ## Install what is missing, then serve the API and the chat page until Ctrl-C
	@$(BOOTSTRAP) api ui
	@exec .venv/bin/ai-sandbox up --given "$$AI_SANDBOX_GIVEN"

test: ## Run all tests (TESTS=... for some: paths and options of pytest)
	@$(BOOTSTRAP) api ui dev
	@.venv-dev/bin/python -m tests.tiers $(TESTS)

check: ## Check style, types and shell scripts
	@$(BOOTSTRAP) dev
	.venv-dev/bin/ruff check .
	.venv-dev/bin/ruff format --check .
	.venv-dev/bin/mypy sandbox tests
	.venv-dev/bin/python -m tests.system_tools shellcheck
	shellcheck .ci/run $$(git ls-files -co --exclude-standard '*.sh')

lock: ## Choose newest versions anew and write requirements/*.txt
	@$(BOOTSTRAP) uv
	@UV=$(CURDIR)/.tools/uv requirements/lock.sh

guide: ## Train the built-in guide model from docs/faq.md
	@$(BOOTSTRAP) dev
	.venv-dev/bin/python -m sandbox.models.guide.train

reference: ## Write the settings page and the sample file from sandbox/settings.py
	@$(BOOTSTRAP) dev
	.venv-dev/bin/python -m sandbox.reference

clean: ## Remove all that was installed and built here; data/ and ai-sandbox.env stay
	rm -rf .venv .venv-ui .venv-dev .tools .cache build
