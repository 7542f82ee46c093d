# `make` or `make help` lists the targets. Everything runs in .venv, which the first target that needs it sets up.
PYTHON ?= python3
WORKERS ?= 2

venv := .venv/bin
# Holds the checksum of what was installed, so that the set-up runs again when the pins change and not otherwise.
stamp := .venv/installed-$(shell cat requirements.txt pyproject.toml .ci/setup | cksum | cut -d' ' -f1)
# Each test process computes with one thread; more would fight over the cores.
pytest := OMP_NUM_THREADS=1 $(venv)/python -m pytest -n $(WORKERS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-full lint format bench clean clean-all

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(stamp) ## make .venv with the pinned packages and this one, once

$(stamp):
	@PYTHON='$(PYTHON)' bash .ci/setup
	@rm -f .venv/installed-*
	@touch $@

demo: $(stamp) ## find blood cells with the bundled detector, PyTorch against ONNX Runtime
	@$(venv)/python tools/demo.py

test: $(stamp) ## run the tests, without those marked `full`
	@$(pytest)

test-full: $(stamp) ## run all tests, every variant of every family
	@$(pytest) -m 'full or not full'

lint: $(stamp) ## check style, format and types
	@$(venv)/ruff check .
	@$(venv)/ruff format --check .
	@$(venv)/pyright --pythonpath $(venv)/python

format: $(stamp) ## format the code and repair what ruff can
	@$(venv)/ruff format .
	@$(venv)/ruff check --fix .

bench: $(stamp) ## time the backbones and their operators on this machine
	@$(venv)/python tools/benchmark.py

clean: ## remove caches, build folders and what the demo wrote, never a work_dirs of a training
	rm -rf build dist outputs/demo .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

clean-all: clean ## remove .venv too
	rm -rf .venv
