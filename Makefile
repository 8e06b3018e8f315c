# Each target makes the environment .venv first where it is missing or older than the lockfile.
SHELL := /bin/bash
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
READY := .venv/.ready

OTHER := scratch/other_processor

.PHONY: help demo reproduce test test-slurm lint bench report plots reference-model verify other-processor environment \
  lock
help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 18

$(READY): envs/requirements.lock envs/requirements.in envs/setup.py pyproject.toml
	$(PYTHON) envs/setup.py
	@touch $@

environment: $(READY)  ## make .venv from the lockfile

demo: $(READY)  ## a first look in two minutes: sixteen scenes, computed in the folder demo
	atlas study first-look demo
	snakemake --cores all --logger atlas --directory demo
	@printf '\nDone. Results in sentences: demo/findings.md; figures: demo/figures; tables: demo/tables\n'

reproduce: $(READY)  ## compute the demo study: maps, tables, figures
	snakemake --cores all --logger atlas

report: $(READY)  ## compute, and gather tables and figures in report.zip
	snakemake --cores all report
	snakemake --report report.zip

plots: $(READY)  ## show DVC's plots in dvc_plots/index.html, a page that needs no network
	mkdir -p scratch && python workflow/report/plots.py > scratch/plots.html
	dvc plots show --html-template "$(CURDIR)/scratch/plots.html"

verify: $(READY)  ## compare the results with those that are committed, value by value
	atlas verify

other-processor: $(READY)  ## compute the last commit's demo as an older processor would, and verify it
	rm -rf $(OTHER) && git clone -q . $(OTHER)
	cd $(OTHER) && set -a && source envs/other_processor.env && set +a && export PYTHONPATH=$$PWD/workflow && \
	  snakemake --cores all && atlas verify

test: $(READY)  ## run the tests, the linters among them
	OMP_NUM_THREADS=1 pytest -n 2 --dist loadgroup --durations 25

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
