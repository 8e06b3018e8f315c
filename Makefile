# Each target makes the environment .venv first where it is missing or older than the lockfile.
SHELL := /bin/bash
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
READY := .venv/.ready

.PHONY: help reproduce test test-slurm lint bench report reference-model verify environment lock
help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 18

$(READY): envs/requirements.lock envs/requirements.in envs/setup.py pyproject.toml
	$(PYTHON) envs/setup.py
	@touch $@

environment: $(READY)  ## make .venv from the lockfile

reproduce: $(READY)  ## compute the demo study: maps, tables, figures
	snakemake --cores all --logger atlas

report: $(READY)  ## compute, and gather tables and figures in report.zip
	snakemake --cores all report
	snakemake --report report.zip

verify: $(READY)  ## compare the results with those that are committed, line by line
	atlas verify

test: $(READY)  ## run the tests
	pytest -n 2 --dist loadgroup --durations 25

test-slurm: $(READY)  ## run a small study through a real one-node Slurm (installs and starts it; needs root)
	pytest tests/cluster

lint: $(READY)  ## ruff, snakefmt, mypy, import-linter, snakemake --lint
	ruff check . && ruff format --check .
	snakefmt --check Snakefile workflow/rules
	mypy
	lint-imports
	snakemake --lint

bench: $(READY)  ## measure: overhead of capture, speed, memory, size
	python benchmarks/run.py

reference-model: $(READY)  ## train shapes-tiny anew (an hour or more) and record it
	dvc unfreeze reference_model
	dvc repro --force --single-item reference_model; status=$$?; dvc freeze reference_model; exit $$status

lock:  ## resolve envs/requirements.in anew
	$(PYTHON) -m venv .venv-lock && .venv-lock/bin/pip install --quiet pip-tools
	cd envs && ../.venv-lock/bin/pip-compile --quiet --generate-hashes --strip-extras \
	  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header \
	  --unsafe-package torch --output-file requirements.lock requirements.in
	sed -i '1i # Every package of the environment but torch, pinned with its hashes: made from requirements.in by `make lock`.\n# torch is installed first, in a step of its own, by the version in requirements.in: its builds (CPU, CUDA) differ by\n# machine, and pip checks the hashes of all packages or of none.' envs/requirements.lock
	$(PYTHON) envs/conda.py > envs/atlas.yaml
	rm -rf .venv-lock
