# STACK names the stack file: local (default) and glm52-local (everything on this machine), dev, prod, h200, glm52.
STACK ?= local
FILE ?= opencode.json

.PHONY: up down preview graph costs acceptance releases env opencode test lint
up: ## converge the stack, then ask the served model one question
	@bootstrap/stack.sh up $(STACK)
down: ## destroy the stack; for local, stop the local cloud with its last stack and remove its files
	@bootstrap/stack.sh down $(STACK)
preview: ## what `up` would do, for how much, and the policies; MARKDOWN=file writes it down; needs neither Modal nor the Hub
	@bootstrap/stack.sh preview $(STACK)
graph: ## the stack's resources with their states and costs, as a picture: STACK.svg, or OUT=file
	@bootstrap/stack.sh graph $(STACK) "$(or $(OUT),$(STACK).svg)"
costs: ## what the stack costs a month by strategy, as a table and a picture: STACK-costs.svg, or OUT=file
	@bootstrap/stack.sh costs $(STACK) "$(or $(OUT),$(STACK)-costs.svg)"
acceptance: ## the stack through its life on your Modal, each step's cost first; YES=1 does not ask, FROM=step takes it up
	@bootstrap/stack.sh acceptance $(STACK)
releases: ## what was deployed when, and what serves
	@bootstrap/stack.sh releases $(STACK)
env: ## shell settings to use pulumi and modal by hand: eval "$$(make -s env)"
	@bootstrap/stack.sh env $(STACK)
opencode: ## merge the served model into OpenCode's configuration, FILE=opencode.json
	@bootstrap/stack.sh opencode $(STACK) "$(FILE)"
test: ## the tests; with LONG=1 also those that carry a stack through many states, minutes each
	@bootstrap/test.sh
lint:
	@bootstrap/environment.sh
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
