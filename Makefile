# make run: everything, from nothing. make test: the suite. Only Python 3.11 and make are needed.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 3
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: run test check bench bench-loop bench-trainer bench-ui bench-researcher setup setup-dev clean

run: setup
	@exec $(BIN)/python manage.py up

setup: .venv/installed
setup-dev: .venv/installed-dev

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=python3.11")'
	@$(PYTHON) -m venv .venv

.venv/installed: requirements.txt | .venv/bin/python
	@echo "installing requirements.txt into .venv (once; torch is large, this takes minutes)"
	@$(BIN)/pip install --quiet -r requirements.txt
	@touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	@echo "installing what tests and checks need"
	@$(BIN)/pip install --quiet -r requirements-dev.txt
	@touch $@

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

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
