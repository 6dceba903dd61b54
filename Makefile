# make run: everything, from nothing. make test: the suite. make quick: what a change touches. PYTHON=python3.12: with that one.
BIN := .venv/bin
WORKERS ?= 3

PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: run test test-postgres quick pictures check bench bench-loop bench-trainer bench-ui bench-researcher bench-gpu machines setup setup-dev clean

run: setup
	@exec $(BIN)/python manage.py up

setup:
	@sh bin/setup
setup-dev:
	@sh bin/setup dev

test: setup-dev
	@BIN=$(BIN) tests/setup
	$(PYTEST) --durations 20 $(ARGS)

# What asks something of the database, on a PostgreSQL server of its own or that of DATABASE_URL.
test-postgres: setup-dev
	tests/with-postgres $(PYTEST) tests/models tests/loop -m "not sqlite_is_enough"

# Under two minutes: the tests of the rooms that a change touches, and it says what it leaves out. SINCE=main: all since then.
quick: setup-dev
	@BIN=$(BIN) tests/setup
	@WORKERS=$(WORKERS) $(BIN)/python -m tests.quick $(PYTEST)

# Every page in all its looks, as pictures in var/pictures.
pictures: setup-dev
	@BIN=$(BIN) tests/setup
	AUTORESEARCH_PICTURES=var/pictures $(PYTEST) tests/browser/test_pages.py tests/browser/test_states.py

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

# On a machine with a GPU, offline: ARGS=speed (six minutes at most) and ARGS=loop (four). FILE: another train.py, for speed.
bench-gpu: $(if $(PYTHON),,setup)
	$(or $(PYTHON),$(BIN)/python) -m tests.bench.gpu $(ARGS) $(if $(FILE),--file $(FILE))

# Half an hour, 8 GB of disk at a time: the two commands on each machine that this one can look like. ARGS="--list": which.
machines:
	@$(or $(PYTHON),python3) -m tests.machines $(ARGS)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
