# Two commands do everything on a fresh machine: `make demo` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
export PYTHONPATH := infra/local
# Bytecode is kept in one folder, even if the shell forbids it beside the sources: each of the many processes
# starts in half the time.
export PYTHONPYCACHEPREFIX := $(CURDIR)/$(VENV)/pycache
unexport PYTHONDONTWRITEBYTECODE
# A shell that has sourced env.sh of the local parts uses their proxy, which reaches no package registry.
ifdef REGCRED_LOCAL
unexport HTTPS_PROXY https_proxy SSL_CERT_FILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE
endif
IMAGE := infra/kubernetes/image
PAGES = $$(find . -name '*.md' -not -path './.*')
LOCK = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
       --no-annotate --custom-compile-command 'make lock' --quiet
# Prints the path of a program that is built from Go, after building it if necessary.
binary = $$($(BIN)/python -c 'from realparts.build import binary; print(binary("$(1)"))' | tail -1)

.PHONY: help
help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: install
install: $(VENV)/.installed ## Create .venv with Regcred and everything that development needs

$(VENV)/.installed: requirements/dev.txt pyproject.toml
	@echo "Installing Python packages into $(VENV) (about a minute the first time)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python is too old: " + sys.version)' || \
	  (echo "Regcred needs Python 3.11, 3.12 or 3.13. Example: make PYTHON=python3.13 install"; exit 1)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  (echo "python3 -m venv failed: on Debian, apt-get install python3-venv"; exit 1)
	@test -x $(BIN)/uv || $(BIN)/pip install --quiet --require-hashes --no-deps \
	  -r <(sed -n '/^uv==/,/^[a-z]/p' requirements/dev.txt | sed '$$d')
	@rm -rf $(VENV)/pycache
	@$(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python requirements/dev.txt
	@$(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python --editable .
	@touch $@

.PHONY: up
up: install ## Start the real parts (OpenBao, Kubernetes, a node, a registry, AWS stand-ins)
	@$(BIN)/python -m realparts up

.PHONY: down
down: install ## Stop them and remove everything except the logs
	@$(BIN)/python -m realparts down

.PHONY: demo
demo: install ## Run the whole path on real parts, step by step
	@$(BIN)/python -m demo

.PHONY: console
console: install ## Serve the console with the demo's data in OpenBao
	@$(BIN)/python -m console

.PHONY: screenshots
screenshots: install ## Take the README's pictures again (with FOLDER=x, take every page in every look)
	@$(BIN)/python -m console.screenshots $(FOLDER)

.PHONY: lint
lint: install ## Check style, types, import rules and workflows
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mdformat --check $(PAGES) || (echo "run make format"; exit 1)
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/zizmor --offline --quiet --no-progress .github
	@"$(call binary,actionlint)" -shellcheck= -pyflakes=

.PHONY: format
format: install ## Format the code and the documents
	@$(BIN)/ruff format .
	@$(BIN)/mdformat $(PAGES)
	@$(BIN)/ruff check --fix .

.PHONY: unit
unit: install ## Run the tests that need no server (seconds)
	@$(BIN)/pytest tests/unit -n auto

.PHONY: test
test: lint ## Run all tests on real parts, and the unit and contract tests on Python 3.13 too
	@$(BIN)/python -m realparts.build --tests
	@$(BIN)/python -m realparts.lanes

.PHONY: test-kubernetes
test-kubernetes: install ## Run the tests of all supported Kubernetes versions (builds 10 minutes once)
	@REGCRED_EVERY_KUBERNETES=1 $(BIN)/pytest tests/real/test_kubernetes_versions.py

.PHONY: bench
bench: install ## Run the benchmarks on real parts (ONLY=sync for one of them)
	@PYTHONPATH=infra/local:tests $(BIN)/python -m bench $(ONLY)

.PHONY: kustomize
kustomize: install ## Render the Helm chart into infra/kubernetes/kustomize
	@$(BIN)/python infra/kubernetes/kustomize/render.py "$(call binary,helm)"

.PHONY: schemas
schemas: install ## Write the JSON schemas of the fleet's files into docs/schemas, for editors
	@mkdir -p docs/schemas
	@for kind in platform cluster project registry grant; do \
	  $(BIN)/regcred schema $$kind > docs/schemas/$$kind.schema.json; done

.PHONY: reference
reference: install ## Write the pages of docs/vendors and docs/reference from the code
	@$(BIN)/python infra/docs/reference.py

.PHONY: docs
docs: install ## Build the documentation as a site into .site, and check its links
	@$(BIN)/zensical build --strict

.PHONY: lock
lock: install ## Lock all dependencies again, with hashes
	$(LOCK) pyproject.toml --all-extras --group dev -o requirements/dev.txt
	$(LOCK) layers/deps/requirements.in -c requirements/dev.txt -o layers/deps/requirements.txt
	$(LOCK) layers/deps/requirements-aws.in -c requirements/dev.txt -o layers/deps/requirements-aws.txt
	$(LOCK) layers/web/requirements.in -c requirements/dev.txt -o layers/web/requirements.txt
	$(LOCK) pyproject.toml --extra sync --extra otel -c requirements/dev.txt -o $(IMAGE)/requirements.txt
	$(LOCK) pyproject.toml --extra console --extra otel -c requirements/dev.txt \
	  -o $(IMAGE)/requirements-console.txt
	$(LOCK) pyproject.toml --extra token -c requirements/dev.txt -o $(IMAGE)/requirements-token.txt
	$(LOCK) requirements/sam.in -o requirements/sam.txt
	$(LOCK) requirements/checkov.in -o requirements/checkov.txt
	$(LOCK) requirements/release.in -o requirements/release.txt
	$(LOCK) requirements/openbao-ldap.in -o requirements/openbao-ldap.txt
	$(LOCK) infra/local/lambda-runtime.in -o infra/local/lambda-runtime.txt
