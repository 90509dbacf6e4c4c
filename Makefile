# Each target is one intent. `make` lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLUSTER := $(PYTHON) -m cluster
NODE := tests/node/node_modules/.package-lock.json
PYTEST := $(BIN)/coverage run -m pytest
SIDE_BY_SIDE := -n 3 --no-loadscope-reorder  # most tests wait for another process; those that take long come first
NAME ?= demo
MINUTES ?= 2

.PHONY: help setup demo demo-down test test-unit test-adapter test-api test-pods soak fuzz crash faults check image cluster cluster-down bench lock coverage

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/ready $(NODE)  ## Python environment, system packages, Kubernetes binaries and base image: what everything else needs (first time about 25 minutes)
	@$(CLUSTER) packages --install
	if [ "$$(id -u)" = 0 ]; then $(CLUSTER) build; fi  # others build what they need when they need it

$(VENV)/ready: requirements/dev.txt operator/pyproject.toml adapter/pyproject.toml
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer with venv is needed: set PYTHON=... or install python3-venv" >&2; exit 1; }
	echo "installing the locked Python packages into $(VENV) (about 90 s)"
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable operator --editable adapter
	touch $@

$(NODE): tests/node/package-lock.json
	@if command -v npm >/dev/null; then
	  npm ci --prefix tests/node --ignore-scripts --no-audit --no-fund --silent
	  touch $@
	else
	  echo "npm is missing (Debian: apt-get install npm): the tests with dcmjs-dimse will not run" >&2
	fi

demo: setup  ## the main job on a Kubernetes of its own: install, apply, send images, find them in the store
	@$(CLUSTER) image
	$(CLUSTER) stop --name $(NAME)
	$(CLUSTER) start --name $(NAME)
	$(CLUSTER) exec --name $(NAME) -- $(BIN)/python -m examples.demo --enter "$(CLUSTER) shell --name $(NAME)"

demo-down: cluster-down  ## removes what `make demo` left running

test: setup  ## every test, with coverage
	@rm -f .coverage .coverage.*
	cd cluster/go/kube
	CGO_ENABLED=0 GOFLAGS= go test -trimpath -vet=off ./loadbalancer  # flags as in the build: others compile all of Kubernetes anew
	cd $(CURDIR)
	$(PYTEST) $(SIDE_BY_SIDE) tests/api tests/adapter tests/soak tests/crash tests/fuzz tests/unit
	if [ "$$(id -u)" = 0 ] || [ -n "$${CI:-}" ]; then
	  $(MAKE) --no-print-directory test-pods
	else
	  echo "tests/pods were not run: they need root (sudo make test-pods)"
	fi
	$(MAKE) --no-print-directory coverage

test-unit: $(VENV)/ready  ## tests of single parts; needs nothing but Python
	@$(PYTEST) tests/unit

test-adapter: setup  ## the adapter against dcmtk and Orthanc on loopback
	@$(PYTEST) tests/adapter

test-api: $(VENV)/ready  ## the operator and the CRD against a real API server; needs no root
	@$(PYTEST) tests/api

test-pods: setup  ## chart, images and pods on a real Kubernetes; needs root
	@$(CLUSTER) image
	trap '$(CLUSTER) stop --name test' EXIT
	$(CLUSTER) start --name test
	$(CLUSTER) exec --name test -- $(BIN)/pytest tests/pods

soak: setup  ## tests/soak in their long forms, with the figures: held peers, memory, ten hours' work in minutes (about 15 minutes)
	@$(BIN)/pytest tests/soak --long --timeout=3600 -rP

crash: setup  ## the adapter killed, its disk broken and its power cut, again and again, and what it had acknowledged looked for (about 15 minutes)
	@$(BIN)/pytest tests/crash --long --timeout=3600 -rP

fuzz: $(VENV)/ready  ## every decoder under a coverage-guided fuzzer, MINUTES for each of them (default 2)
	@$(BIN)/pytest tests/fuzz --long --fuzz-minutes=$(MINUTES) --timeout=0 -rP

coverage: $(VENV)/ready  ## line and branch coverage of the test runs since the last `make test`
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

faults: $(VENV)/ready  ## the operator killed at each write, blinded, refused and vandalised, and every field of the CRD mutated (about 25 minutes)
	@$(BIN)/pytest tests/api/faults tests/unit/operator/test_convergence.py --long --timeout=3600 -rP

check: setup  ## linters and type checker
	@set -x
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy operator adapter cluster examples tests bench charts/sync.py charts/manifests.py
	$(BIN)/lint-imports
	$(BIN)/yamllint --strict .
	$(BIN)/hadolint Dockerfile.operator Dockerfile.adapter
	$(BIN)/shellcheck .ci/run requirements/lock cluster/go/kube/pin
	$(PYTHON) charts/sync.py --check
	$(PYTHON) charts/manifests.py --check
	$(CLUSTER) helm lint --strict charts/dicom-operator

image: setup  ## both images, from the two Dockerfiles
	@$(CLUSTER) image

cluster: setup  ## a one-node Kubernetes with the images and a DICOMweb store, left running
	@$(CLUSTER) image
	$(CLUSTER) start --name $(NAME)

cluster-down:  ## ends it
	@$(CLUSTER) stop --name $(NAME)

bench: setup  ## benchmarks, each against a peer in the same run
	@for script in bench/*.py; do echo "== $$script"; $(BIN)/python -m bench.$$(basename $$script .py); done

lock:  ## writes requirements/*.txt anew; needs uv
	@requirements/lock
