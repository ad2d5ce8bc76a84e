# Every target sets up what it needs: a fresh Linux machine with Python 3.11 or newer is enough.

MASTHEAD ?= signed
PYTEST_ARGS ?=
PUBLIC_NAMES ?=
HOSTS ?= 50 200

VENV := .venv/bin
# The tools call each other (ansible-lint calls ansible-playbook); they must meet those of .venv.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.venv/collections
# A world-writable checkout (WSL, a shared mount) makes Ansible ignore ansible.cfg unless it is named.
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

# Two set-ups at once would write into the same .venv.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help demo test fast lint sanity unit integration stand-ins molecule soak headline bench bench-hosts docs changelog public-names clean setup-demo setup-test

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: setup-demo ## watch a whole estate move its port, on this machine (MASTHEAD=signed or plain)
	@$(VENV)/python tools/demo --masthead $(MASTHEAD)

test: setup-test ## lint, sanity, unit, integration and molecule, all of them, then a summary
	@$(VENV)/python tools/stages

fast: setup-test ## a developer's loop of some minutes: ruff, the unit tests, and chosen integration tests (tools/fast)
	@$(VENV)/python tools/fast $(PYTEST_ARGS)

lint: setup-test ## style, syntax, docs, changelog and what a release would contain
	@$(VENV)/python tools/lint

sanity: setup-test ## ansible-test sanity, on every Python found
	@$(VENV)/python tools/sanity

unit: setup-test ## unit tests (PYTEST_ARGS='-k masthead' to choose)
	@$(VENV)/python -m pytest tests/unit -n auto --durations=10 $(PYTEST_ARGS)

integration: setup-test ## playbooks and roles against the lab
	@$(VENV)/python tools/integration $(PYTEST_ARGS)

stand-ins: setup-test ## the tests of the lab's stand-ins alone; `make test` runs them when tests/lab changed
	@$(VENV)/python tools/integration --stand-ins

molecule: setup-test ## whole migrations in systemd containers (needs root and podman, or docker)
	@$(VENV)/python tools/molecule

soak: setup-test ## long proofs that CI does not run (killed at ten moments, zero loss again and again), and the stand-ins
	@$(VENV)/python -m pytest tests/soak tests/integration -s -m "long or stand_ins" $(PYTEST_ARGS)

headline: setup-test ## the hand procedure and ours on the same containers, in one table (a quarter of an hour)
	@$(VENV)/python tests/bench/headline.py

bench: setup-test ## what a migration costs each host, as a ratio to ansible.builtin.ping
	@$(VENV)/python tests/bench/migration.py

bench-hosts: setup-test ## whether a host costs more where there are many (HOSTS='50 200 1000')
	@$(VENV)/python tests/bench/many_hosts.py --hosts $(HOSTS)

docs: setup-test ## check the documentation of every plugin and role
	@$(VENV)/python tools/lint docs

changelog: setup-test ## check the changelog and its fragments
	@$(VENV)/python tools/lint changelog

public-names: setup-test ## what differs from the names of the last release (PUBLIC_NAMES=--write to note them, at a release)
	@$(VENV)/python -m tests.unit.public_names $(PUBLIC_NAMES)

clean: ## remove everything that make made in the checkout
	@rm -rf .venv .cache .lab .ansible .pytest_cache .hypothesis .ruff_cache .mypy_cache tests/output portshift-agents-*.tar.gz
	@find . -name .git -prune -o -type d -name __pycache__ -exec rm -rf {} +

setup-demo:
	@tools/setup demo

setup-test:
	@tools/setup test
