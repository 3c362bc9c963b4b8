# Everything a stranger or a machine runs. Needs GNU make and Python 3.11 or newer,
# nothing else; pip brings the rest into .venv.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt
# What an installation follows from: it is redone when one of these changes.
PINS := pyproject.toml constraints.txt

# Settings of a run, given as `make run DURATION=60` or `make test ARGS="-k quantity"`.
PYTHON ?=
DURATION ?=
ARGS ?=

VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE ?= wva-adapter:$(VERSION)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

.PHONY: run
run: .venv/.runtime ## emulated engines, the adapter and a stand-in for HPA; DURATION=60 ends it
	@$(BIN)/wva demo $(if $(DURATION),--duration $(DURATION)) $(ARGS)

.PHONY: test
test: .venv/.development ## all tests, on all cores; ARGS goes to pytest (-n 0: one process)
	@$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

# The folder of a control plane's programs; without one they are built, once, with Go. Scenarios
# mostly wait: two control planes side by side take half of the time on two cores.
KUBE_ASSETS ?=
PLANES ?= 2
.PHONY: e2e
e2e: export KUBE_ASSETS := $(KUBE_ASSETS)
e2e: .venv/.development ## scenarios on a real control plane; needs Go or KUBE_ASSETS=folder
	@$(BIN)/python -m tests.end_to_end.control_plane.binaries
	@$(BIN)/python -m pytest -n $(PLANES) --dist loadfile tests/end_to_end/control_plane $(ARGS)

# The folder of KEDA's programs and manifests; without one they are built, once, with Go.
KEDA_ASSETS ?=
.PHONY: e2e-keda
e2e-keda: export KUBE_ASSETS := $(KUBE_ASSETS)
e2e-keda: export KEDA_ASSETS := $(KEDA_ASSETS)
e2e-keda: .venv/.development ## scenarios with a stock KEDA; needs Go or KEDA_ASSETS=folder too
	@$(BIN)/python -m tests.end_to_end.keda_plane.binaries
	@$(BIN)/python -m pytest tests/end_to_end/keda_plane $(ARGS)

.PHONY: check
check: .venv/.development ## formatting, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: bench
bench: .venv/.development ## measurements against named baselines: bench/results.json
	@$(BIN)/python -m bench $(ARGS)

.PHONY: proof
proof: .venv/.development ## simulated comparisons into docs/proof.md; hours, goes on where it stopped
	@$(BIN)/python -m bench.proof $(ARGS)

.PHONY: docs
docs: .venv/.development ## settings reference from the code, links checked, HTML in site/
	@$(BIN)/python docs/build.py

.PHONY: image
image: ## container image, named by IMAGE
	@command -v docker >/dev/null 2>&1 || { echo "make image needs docker, which isn't on the PATH"; exit 1; }
	@docker info >/dev/null 2>&1 || { echo "make image needs a docker daemon, and none answers ('docker info' says more)"; exit 1; }
	docker build --tag $(IMAGE) .

# The cluster is the one that kubectl talks to. The image's name is put in on the way, so that
# no file of the checkout changes.
OVERLAY ?= hpa
INSTALLATIONS := hpa keda prometheus cert-manager
ROLLOUT_TIMEOUT ?= 120s
KUBECTL ?= kubectl
RENDERED = $(KUBECTL) kustomize manifests/overlays/$(OVERLAY)
.PHONY: install
install: ## the adapter into a cluster; IMAGE, OVERLAY=hpa, keda, prometheus or cert-manager
	@$(have_kubectl)
	@objects=$$($(RENDERED)) && \
	  printf '%s\n' "$$objects" | sed 's|image: wva-adapter:.*|image: $(IMAGE)|' | $(KUBECTL) apply -f -
	@test -z "$(ROLLOUT_TIMEOUT)" || $(KUBECTL) -n wva-system rollout status deployment/wva --timeout=$(ROLLOUT_TIMEOUT) || \
	  { echo "The pod isn't ready. Why: $(KUBECTL) -n wva-system describe pods; $(KUBECTL) -n wva-system logs deployment/wva"; exit 1; }

# An APIService without a backend stops every deletion of a namespace, so ours goes first,
# after the leader's right to make it again. The definition of VariantAutoscaling stays: with
# it would go everybody's objects.
OUR_API_SERVICE = $(KUBECTL) get apiservice v1beta1.external.metrics.k8s.io --ignore-not-found \
  --output=jsonpath='{.spec.service.namespace}/{.spec.service.name}'
.PHONY: uninstall
uninstall: ## the adapter out of the cluster; OVERLAY as it was installed
	@$(have_kubectl)
	@$(KUBECTL) delete clusterrolebinding wva-api-service --ignore-not-found
	@owner=$$($(OUR_API_SERVICE)) && if [ "$$owner" = wva-system/wva ]; then \
	  $(KUBECTL) delete apiservice v1beta1.external.metrics.k8s.io; fi
	@objects=$$($(RENDERED)) && printf '%s\n' "$$objects" | \
	  $(KUBECTL) delete --ignore-not-found --selector='app.kubernetes.io/component!=definition' -f -
	@echo "VariantAutoscaling objects and their definition are kept; to delete both: $(KUBECTL) delete crd variantautoscalings.llmd.ai"

define have_kubectl
command -v $(KUBECTL) >/dev/null 2>&1 || { echo "make $@ needs kubectl, which isn't on the PATH"; exit 1; }; \
test -n "$(filter $(OVERLAY),$(INSTALLATIONS))" || { echo "OVERLAY=$(OVERLAY) is none of: $(INSTALLATIONS)"; exit 2; }
endef

# The files of _generated import each other absolutely, so protoc is told that the proto
# lies there and that the root is where packages start.
PROTO_OUT ?= .
.PHONY: proto
proto: .venv/.development ## gRPC code from adapter/keda/externalscaler.proto
	@$(BIN)/python -m grpc_tools.protoc --proto_path=adapter/keda/_generated=adapter/keda \
	  --python_out=$(PROTO_OUT) --grpc_python_out=$(PROTO_OUT) \
	  adapter/keda/externalscaler.proto

.PHONY: clean
clean: ## remove .venv, caches and whatever else was made here
	rm -rf .venv site build dist *.egg-info bench/results.json bench/.cache bench/proof_results bench/.referee
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.runtime: $(PINS) .venv/bin/python
	@echo "Installing what the adapter needs into .venv (once; a minute at most) ..."
	@$(PIP_INSTALL) --editable .
	@touch $@

.venv/.development: $(PINS) .venv/bin/python
	@echo "Installing the adapter, its tests and tools into .venv (once; a minute or two) ..."
	@$(PIP_INSTALL) --editable '.[sim,dev]'
	@touch $@ .venv/.runtime

# The first of the candidates that runs and is new enough makes .venv. A command that is
# on the PATH may still not run (version managers leave shims), so each is tried.
CANDIDATES := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)
.venv/bin/python:
	@for python in $(CANDIDATES); do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "Making .venv with $$("$$python" --version) ..."; \
	    "$$python" -m venv --clear .venv && exit 0; \
	    rm -rf .venv; echo "$$python can't make a virtual environment: install its venv module (Debian and Ubuntu: python3-venv)"; exit 1; \
	  fi; \
	done; \
	echo "WVA needs Python 3.11 or newer: none of '$(CANDIDATES)' is ($$(python3 --version 2>&1 | head -n 1)). Name one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; \
	exit 1
