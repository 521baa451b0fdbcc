# Two commands matter: `make demo` and `make test`. Both make the environment first.
# PYTHON chooses the interpreter (3.11 or newer), TORCH a version of torch (default: the newest).

PYTHON ?= python3
VENV   ?= .venv
TORCH  ?=
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo data test lint types docs load chaos clean

demo: $(VENV)/.ready
	$(BIN)/isthmus demo --out isthmus-demo

data: $(VENV)/.ready
	$(BIN)/isthmus data fetch all

test: $(VENV)/.ready-dev
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered -q $(ARGS)

lint: $(VENV)/.ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.ready-dev
	$(BIN)/mypy

docs: $(VENV)/.ready-dev
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_site
	@echo "docs/_site/index.html"

# How a server holds up: SECONDS of searches and writes on INDEX, and ROUNDS of kill -9 while it writes.
INDEX   ?= isthmus-demo/index
SECONDS ?= 600
ROUNDS  ?= 20

load: $(VENV)/.ready-dev
	$(BIN)/python benchmarks/serve.py --index $(INDEX) --seconds $(SECONDS) $(ARGS)

chaos: $(VENV)/.ready-dev
	$(BIN)/python -m tests.web.chaos --rounds $(ROUNDS) $(ARGS)

$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "isthmus needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make $(MAKECMDGOALS) PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(call install,'pip>=25.1')
	@$(if $(TORCH),$(call install,'torch==$(TORCH)'))
	@$(call install,--editable '.[demo]')
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	@$(call install,--group dev)
	@touch $@

# What pip says is kept for the case that it is not the connection.
define install
$(PIP) install --quiet --retries 1 $(1) >$(VENV)/pip.log 2>&1 || { \
  if grep -qiE 'connection|name resolution|network|no matching distribution|timed out' $(VENV)/pip.log; \
  then echo "isthmus: packages cannot be installed: no connection to the package index. Connect and run make again." >&2; \
  else cat $(VENV)/pip.log >&2; fi; exit 1; }
endef

clean:
	rm -rf $(VENV) isthmus-demo
