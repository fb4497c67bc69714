# One command each: `make demo` to see it work, `make test` and `make lint` before a change goes in.
# The environment lives in .venv. It is made on demand and never twice; PYTHON=… chooses its interpreter.

SHELL := /bin/bash
.DEFAULT_GOAL := help
export PYTHON

BIN := .venv/bin

# Nothing here may reach a model hub: what is needed ships with the package.
export HF_HUB_OFFLINE := 1
export TRANSFORMERS_OFFLINE := 1
# The theme announces its successor at every build.
export NO_MKDOCS_2_WARNING := 1

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## make the whole environment in .venv (tests, checks and docs included)
	@scripts/setup.sh dev

.PHONY: setup-demo
setup-demo:
	@scripts/setup.sh demo

.PHONY: demo
demo: setup-demo ## watch real queries travel through five real models, and what that is worth
	@$(BIN)/disrouter demo

.PHONY: serve
serve: setup-demo ## serve the embedded network behind one OpenAI-compatible address (ARGS="--port 9000")
	@$(BIN)/disrouter serve $(ARGS)

.PHONY: test
test: setup ## run the tests (ARGS="-k name" chooses some)
	@$(BIN)/python -m pytest $(ARGS)

.PHONY: test-ray
test-ray: ## run the tests that need Ray, in an environment of their own (slow: installs it once, in .venv-ray)
	@scripts/setup.sh ray
	@.venv-ray/bin/python -m pytest tests/engines -m ray $(ARGS)

.PHONY: test-clients
test-clients: setup ## run real clients of OpenAI's API against the gateway (slow: installs them once, in .cache)
	@$(BIN)/python tests/clients/run.py $(ARGS)

.PHONY: test-soak
test-soak: setup ## thousands of streams at once through the gateway, and its end under load (slow: minutes)
	@$(BIN)/python benchmarks/soak.py $(ARGS)

.PHONY: bench-gateway
bench-gateway: setup ## measure the gateway beside a pass-through and, if it is there, LiteLLM's proxy (slow; needs wrk)
	@$(BIN)/python benchmarks/gateway.py $(ARGS)

.PHONY: bench-faults
bench-faults: setup ## nodes on hosts apart: killed, frozen, cut off, lossy, slow, talking garbage (minutes; needs root)
	@$(BIN)/python benchmarks/faults $(ARGS)

.PHONY: lint
lint: setup ## check style, types and docs
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@site=$$(mktemp -d) && trap 'rm -rf "$$site"' EXIT && $(BIN)/mkdocs build --quiet --strict --site-dir "$$site"

.PHONY: format
format: setup ## rewrite the code in the project's style
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

.PHONY: docs
docs: setup ## build the documentation into site/
	@$(BIN)/mkdocs build --quiet --strict
	@echo "open site/index.html"

.PHONY: lab
lab: setup ## train the lab's checkpoints again from nothing (slow: hours; resumes where it stopped)
	@$(BIN)/disrouter lab build

BENCH := runs/bench

.PHONY: bench
bench: setup ## measure the lab's bench again, and write its numbers into the docs (slow: a quarter of an hour)
	@test -f $(BENCH)/lab.parquet || $(BIN)/disrouter bench build --network lab --train 2000 --validation 500 \
		--test 2100 --test-domain in --test-domain out --seed 2026 -o $(BENCH)/lab.parquet
	@for domain in in out; do \
		$(BIN)/disrouter bench run $(BENCH)/lab.parquet --network lab --methods all --domain $$domain \
			--run-dir $(BENCH)/lab-$$domain && \
		$(BIN)/disrouter bench report $(BENCH)/lab-$$domain && \
		$(BIN)/disrouter bench store $(BENCH)/lab-$$domain --table $(BENCH)/lab.parquet \
			-o benchmarks/runs/lab-$$domain || exit 1; \
	done
	@$(BIN)/disrouter bench verify --write
