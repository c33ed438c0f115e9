# STACK names the stack file: local (default, everything on this machine), dev, prod.
STACK ?= local

.PHONY: up down preview env test lint
up: ## converge the stack, then ask the served model one question
	@bootstrap/stack.sh up $(STACK)
down: ## destroy the stack; for local, stop the local cloud and remove its files as well
	@bootstrap/stack.sh down $(STACK)
preview: ## what `up` would do; needs neither Modal nor the Hub
	@bootstrap/stack.sh preview $(STACK)
env: ## shell settings to use pulumi and modal by hand: eval "$$(make -s env)"
	@bootstrap/stack.sh env $(STACK)
test: ## every test
	@bootstrap/test.sh
lint:
	@bootstrap/environment.sh
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
