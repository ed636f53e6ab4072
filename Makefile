# RetailFlow: what a person types. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
.NOTPARALLEL:

TARGET ?= local
FORMAT ?= text
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export PYTHONDONTWRITEBYTECODE := 1 DO_NOT_TRACK := 1 ANSIBLE_FORCE_COLOR ?= $(if $(MAKE_TERMOUT),true,false)
INVENTORY := -i inventory/$(TARGET).aws_ec2.yml -i inventory/$(TARGET).yml
PLAYBOOK := ansible-playbook $(INVENTORY)
STATE := .state/$(TARGET)
MACHINE := $(if $(filter local,$(TARGET)),venv engine rootfs terraform,venv terraform)

# The inventory asks the AWS API for its hosts, so on a machine where the emulated one is not up yet, that comes first.
START_CLOUD = $(if $(filter local,$(TARGET)),[ -n "$$(docker ps -q --filter label=retailflow.service=retailflow-aws)" ]   || ansible-playbook -i inventory/local.yml playbooks/cloud.yml)

-include .env

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / { printf "  make %-24s %s\n", $$1, $$2 }' Makefile

.PHONY: bootstrap
bootstrap: ## virtual environment, Docker engine, base image, Terraform's settings
	@case "$(TARGET)" in local|aws) ;; *) echo "error: TARGET is local or aws, not $(TARGET)" >&2; exit 2 ;; esac
	tools/machine $(MACHINE)

.PHONY: up
up: bootstrap ## everything: hosts, services, wiring, proof (TARGET=aws for AWS)
	@$(START_CLOUD)
	$(PLAYBOOK) site.yml
	cat $(STATE)/summary.txt

.PHONY: run
run: bootstrap ## one cycle now: generate, sync, transform, check; prints net revenue
	@$(START_CLOUD)
	$(PLAYBOOK) playbooks/verify.yml
	cat $(STATE)/summary.txt

.PHONY: status
status: ## hosts, services, freshness, row counts, slot lag, last runs (FORMAT=json for machines)
	@[ -x $(BIN)/ansible-playbook ] || { echo "error: nothing is installed here yet: run make up" >&2; exit 1; }
	mkdir -p $(STATE)
	rm -f $(STATE)/status.*
	$(PLAYBOOK) playbooks/status.yml > $(STATE)/status.log 2>&1 \
	  || { cat $(STATE)/status.log >&2; exit 1; }
	cat $(STATE)/status.$(if $(filter json,$(FORMAT)),json,txt)

.PHONY: test
test: bootstrap ## everything that can fail (STAGES="lint unit stack molecule")
	@tools/test $(STAGES)

.PHONY: down
down: ## leaves nothing (caches inside the clone stay; make clean takes those)
	@if [ -x $(BIN)/ansible-playbook ] && docker info >/dev/null 2>&1; then $(PLAYBOOK) teardown.yml; fi
	$(if $(filter local,$(TARGET)),tools/machine down)

.PHONY: clean
clean: down ## also takes the caches and environments inside the clone
	rm -rf .venv .venv-lint .cache .state .secrets .env .mypy_cache .ruff_cache .pytest_cache .hypothesis
