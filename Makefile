# Two commands do all the set-up: `make demo` and `make test`. `make help` lists the rest.
.DEFAULT_GOAL := help
PY := .venv/bin/python
.PHONY: help demo test check mutants bench simulate soak setup dev lint types contracts unit lock format clean

help: ## What there is to make
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: ## .venv with sealmesh and all extras
	@scripts/setup run

dev: ## .venv with everything for working on sealmesh
	@scripts/setup dev

demo: setup ## A sealed chat between two nodes on this machine, and what was seen on the way
	@.venv/bin/sealmesh demo

check: dev lint types contracts unit ## The fast inner loop, under a minute

lint:
	@$(PY) -m ruff check -q .
	@$(PY) -m ruff format -q --check .

types:
	@$(PY) -m mypy

contracts:
	@.venv/bin/lint-imports --no-logo 2>/dev/null || .venv/bin/lint-imports

unit:
	@$(PY) -m pytest -q -n 2 tests/unit tests/architecture -m "not model and not process and not systemd and not swtpm"

test: dev ## Everything that CI runs
	@scripts/test

mutants: dev ## Each security check taken out in turn: some test must fail
	@$(PY) -m tools.mutants

bench: dev ## First token, gaps, throughput: direct, plain tunnel, sealed
	@$(PY) -m benchmarks

simulate: dev ## The targets of large meshes: 1,000 nodes in each scenario, 10,000 in two (minutes)
	@$(PY) -m tools.large_meshes

soak: dev ## Twenty minutes of mixed requests while hosts are killed: nothing wrong, nothing left behind
	@$(PY) -m tools.soak

lock: dev ## Write the hashed requirement files anew
	@scripts/lock

format: dev ## Format the code
	@$(PY) -m ruff check -q --fix .
	@$(PY) -m ruff format -q .

clean: ## Remove what was built
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
