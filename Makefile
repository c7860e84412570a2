# `make demo` and `make test` do all set-up on a fresh machine: Python 3.11 or newer and make are enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: install demo test check bench e2e-ha conformance e2e-n8n docs mosquitto dovecot clean help

help:  ## say what can be made
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):[^#]*## /make \1\t/' | expand -t 20

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; try make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all]'
	@touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dev
	@touch $@

install: $(VENV)/.installed  ## the commands proxmox-mcp and mqtt-bridge in .venv/bin

demo: $(VENV)/.installed  ## a simulated datacentre with broker, bridge and MCP server, and a live view
	@$(BIN)/proxmox-mcp demo $(ARGS)

test: $(VENV)/.tested mosquitto dovecot  ## lint, types and all tests that need no Home Assistant or n8n
	BIN=$(BIN) scripts/check
	BIN=$(BIN) scripts/test

check: $(VENV)/.tested  ## lint and types alone
	BIN=$(BIN) scripts/check

bench: $(VENV)/.tested mosquitto  ## measure, and print the rows of the design's targets
	$(BIN)/python -m pytest tests/bench -m bench -q -s --override-ini 'norecursedirs=.*' --override-ini timeout=1800

e2e-ha: $(VENV)/.tested mosquitto  ## a real Home Assistant (set up once, some minutes; Python 3.13 or newer) with the lab
	$(BIN)/python -m pytest tests/e2e/homeassistant -q --override-ini 'norecursedirs=.* harness' --override-ini timeout=900 $(ARGS)

conformance: $(VENV)/.tested  ## the MCP conformance suite and the inspector against our server; needs npm
	$(BIN)/python scripts/conformance $(ARGS)

e2e-n8n: $(VENV)/.tested mosquitto  ## the n8n workflows in a real n8n, on the lab; needs npm, installs n8n (2.3 GB) once
	@scripts/install-n8n
	$(BIN)/python -m pytest tests/e2e/n8n -q --override-ini 'norecursedirs=.*' --override-ini timeout=600 $(ARGS)

docs: $(VENV)/.tested  ## write the generated documents again
	$(BIN)/python scripts/make_docs.py

mosquitto:
	@scripts/install-mosquitto

dovecot:
	@scripts/install-dovecot

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
