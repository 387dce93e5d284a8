# For developers of Parley; users need ./parley alone. `make` lists what there is.
BIN := .venv/bin
SCRIPTS := parley .ci/run

.DEFAULT_GOAL := help
.PHONY: help install lint fix types test migrate revision docs bench lock check

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: ## Make .venv from uv.lock, and the git hooks
	python3 -m venv .venv
	$(BIN)/pip install --quiet uv
	$(BIN)/uv sync --frozen
	$(BIN)/pre-commit install

lint: ## Style, imports between packages, shell scripts, Dockerfile
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/shellcheck $(SCRIPTS)
	$(BIN)/hadolint deploy/Dockerfile

fix: ## Repair what the tools can repair
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: ## mypy, strict
	$(BIN)/mypy

test: ## Every test, on servers of its own
	./parley test

migrate: ## Bring the databases of the running stack to the newest version
	./parley migrate

revision: ## New migration from the models: make revision s=auth m="add devices"
	@test -n "$(s)" && test -n "$(m)" || { echo 'usage: make revision s=<auth|chat|notify> m="<what changes>"' >&2; exit 2; }
	$(BIN)/alembic -n $(s) revision --autogenerate -m "$(m)"

docs: ## Write the generated pages of docs/
	$(BIN)/python -m deploy.docs

bench: ## Ours against the peers
	./parley bench

lock: ## Resolve pyproject.toml into uv.lock
	$(BIN)/uv lock

check: lint types test ## What a commit has to pass
