# make run: everything, from nothing. make test: the suite. PYTHON=python3.12 make run: with that Python.
BIN := .venv/bin
WORKERS ?= 3

.PHONY: run test check bench bench-loop bench-trainer bench-ui bench-researcher machines setup setup-dev clean

run: setup
	@exec $(BIN)/python manage.py up

setup:
	@sh bin/setup
setup-dev:
	@sh bin/setup dev

test: setup-dev
	@BIN=$(BIN) tests/setup
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(or $(ARGS),tests/browser tests/faults tests/loop tests)

check: setup-dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python -m pytest -q tests/test_imports.py tests/test_docs.py

bench: bench-loop bench-trainer bench-ui bench-researcher

bench-loop: setup-dev
	@BIN=$(BIN) tests/setup
	$(BIN)/python -m tests.bench.loop

# About half an hour: 20 trainings of 60 s, one after the other, on one core. ARGS="--seconds 10 --seeds 2" for a look.
bench-trainer: setup-dev
	@BIN=$(BIN) tests/setup
	$(BIN)/python -m tests.bench.step
	$(BIN)/python -m tests.bench.trainer $(ARGS)

# About ten minutes, half of them an hour's live updates. Installs tensorboard and mlflow into a temporary folder of its own.
bench-ui: setup-dev
	@BIN=$(BIN) tests/setup
	$(BIN)/python -m tests.bench.ui $(ARGS)

# About an hour: 8 kinds of models, a night in small, then 144 trainings of 15 s on one core.
bench-researcher: setup-dev
	@BIN=$(BIN) tests/setup
	$(BIN)/python -m tests.bench.models
	$(BIN)/python -m tests.bench.night
	$(BIN)/python -m tests.bench.search $(ARGS)

# Half an hour, 8 GB of disk at a time: the two commands on each machine that this one can look like. ARGS="--list": which.
machines:
	@$(or $(PYTHON),python3) -m tests.machines $(ARGS)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
