# Two commands matter to a newcomer: `make run` and `make test`. The rest is daily work.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8080
ADMIN_PORT ?= 8081
PROCESSES ?= 1
EXAMPLES := $(patsubst %/model.toml,%,$(wildcard examples/*/model.toml))
UP_FLAGS := --port $(PORT) --admin-port $(ADMIN_PORT) --processes $(PROCESSES)

.PHONY: setup run test redis iproute check bench bench-accept fuzz chaos chaos-long restarts soak peers fmt lint types docs lock clean

setup: $(VENV)/.ready ## the platform's environment, from the lock file

$(VENV)/.ready: requirements-dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Demitasse needs Python 3.11 or later, " + sys.executable + " is " + sys.version.split()[0] + "; set PYTHON=") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements-dev.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

run: setup ## the platform with the example models; PORT= ADMIN_PORT= PROCESSES=
	-$(BIN)/demitasse publish $(EXAMPLES)
	$(BIN)/demitasse up $(UP_FLAGS)

test: setup redis iproute ## units, and the whole platform with real environments
	$(BIN)/python -m pytest

# The tests start their own, on a free port: RUNLEVEL keeps apt from starting one.
redis: ## a Redis for the tests, where apt can have one; they are skipped without
	-@command -v redis-server >/dev/null || ! command -v apt-get >/dev/null || test "$$(id -u)" != 0 || RUNLEVEL=1 apt-get install --yes --quiet=2 --no-install-recommends redis-server >/dev/null

# For tests of links between network namespaces: they are skipped without.
iproute:
	-@command -v ip >/dev/null || ! command -v apt-get >/dev/null || test "$$(id -u)" != 0 || apt-get install --yes --quiet=2 --no-install-recommends iproute2 >/dev/null

check: lint types test bench ## what CI runs

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

fmt: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup
	$(BIN)/mypy

chaos: setup ## random faults for a minute, callers who know what is right: CHAOS_SEED=
	CHAOS_SEED=$${CHAOS_SEED:-$$(date +%s)} $(BIN)/python -m pytest -s tests/chaos

restarts: setup ## 50 restarts of coordinators and 100 stops of the platform at 70 % load; minutes
	RESTARTS=50 STOPS=100 LOAD=0.7 $(BIN)/python -m pytest -s tests/acceptance/test_restarts.py

chaos-long: setup ## the same for half an hour
	CHAOS_SECONDS=1800 CHAOS_SEED=$${CHAOS_SEED:-$$(date +%s)} $(BIN)/python -m pytest -s tests/chaos

soak: setup ## a million mixed requests, and what is held after them; SOAK_COUNT=
	$(BIN)/python -m tests.soak $(SOAK_COUNT:%=--count %)

bench: setup ## cost and yield against floors of the same run; fails when worse by a third
	$(BIN)/python -m benchmarks.bench
	$(BIN)/python -m benchmarks.caching

bench-accept: setup ## the same; makes what it measures the accepted ratios
	$(BIN)/python -m benchmarks.bench --accept

fuzz: setup ## hostile requests: FUZZ_SEED= FUZZ_CASES= FUZZ_FIRST=; prints the seed
	$(BIN)/python -m tests.fuzz

peers: setup ## beside other servers: PEERS="mosec triton" ITEMS="w1 w2" ROUNDS= SECONDS=
	$(BIN)/python -m benchmarks.peers $(PEERS:%=--peer %) $(ITEMS:%=--item %) $(ROUNDS:%=--rounds %) $(SECONDS:%=--seconds %)

docs: setup ## the generated parts of docs/, and whether the rest is true
	$(BIN)/python -m pytest tests/test_docs.py tests/coordinator/test_config.py tests/coordinator/test_error_tree.py

lock: setup ## new versions into the lock files
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --upgrade pyproject.toml --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --upgrade --extra dev pyproject.toml --output-file requirements-dev.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build *.egg-info
