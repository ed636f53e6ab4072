# RetailFlow: what a person types. `make help` lists it.
# macOS has make 3.81, which knows no .ONESHELL.
ifeq ($(filter oneshell,$(.FEATURES)),)
$(error make $(MAKE_VERSION) is too old, GNU make 3.82 or newer is needed: run ./retailflow up, which needs Docker alone, or install make (brew install bash make, then gmake up))
endif
# Recipes start in an environment of their own: tools/clean-env lists what of the caller's is passed on.
SHELL := tools/clean-env
.SHELLFLAGS := bash -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
.NOTPARALLEL:

ifneq ($(findstring e,$(filter-out --%,$(firstword -$(MAKEFLAGS)))),)
$(error make -e lets the environment override this file; leave -e away, also in MAKEFLAGS)
endif
# The environment may set these three; the other settings of a target are typed after it.
TARGET ?= local
FORMAT ?= text
# The name of a site beside the inventory's own, which is SITE=main or no SITE: tools/sites.py says what follows from it.
SITE ?=
ifeq ($(filter local aws,$(TARGET)),)
$(error TARGET is local or aws, not "$(TARGET)")
endif
ifeq ($(filter text json,$(FORMAT)),)
$(error FORMAT is text or json, not "$(FORMAT)")
endif
without = $(if $(1),$(call without,$(wordlist 2,$(words $(1)),$(1)),$(subst $(firstword $(1)),,$(2))),$(2))
DIGITS := 0 1 2 3 4 5 6 7 8 9
LETTERS := a b c d e f g h i j k l m n o p q r s t u v w x y z
ifneq ($(call without,$(LETTERS) $(DIGITS) -,$(value SITE)),)
$(error SITE is lower-case letters, digits and hyphens, not "$(value SITE)")
endif
NAMED := $(SITE)
override SITE := $(filter-out main,$(SITE))
export TARGET SITE
# The site as messages name it, and the name of its folders.
THIS := TARGET=$(TARGET)$(if $(SITE), SITE=$(SITE))
FOLDER := $(TARGET)$(if $(SITE),-$(SITE))
INVENTORY := -i inventory/$(TARGET).aws_ec2.yml -i inventory/$(TARGET).yml
PLAYBOOK := ansible-playbook $(INVENTORY)
STATE := .state/$(FOLDER)
MACHINE := programs venv $(if $(filter local,$(TARGET)),engine rootfs) terraform

# The inventory asks the AWS API for its hosts, so on a machine where the emulated one is not up yet, that comes first.
START_CLOUD = $(if $(filter local,$(TARGET)),[ -n "$$(docker ps -q --filter label=retailflow.service=$$(python tools/sites.py name)-aws)" ] \
  || ansible-playbook -i inventory/local.yml playbooks/cloud.yml $(GIVEN_DAYS))

RETAILFLOW_TARGET :=
-include $(if $(SITE),$(STATE)/env,.env)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / { printf "  make %-24s %s\n", $$1, $$2 }' Makefile

.PHONY: bootstrap
bootstrap: ## virtual environment, Docker engine, base image, Terraform's settings
	@tools/machine $(MACHINE)

# Quotes of an address are optional, so none of them reach the shell.
REPLACE :=
# NEW=postgres: an empty server may take the place of one whose backups are stored.
NEW :=
ifneq ($(filter-out postgres,$(NEW)),)
$(error NEW is postgres or nothing, not "$(NEW)")
endif
# HISTORY=90: days of sales that a new shop begins with, instead of those that the inventory names.
HISTORY :=
ifneq ($(call without,$(DIGITS),$(value HISTORY)),)
$(error HISTORY is a whole number of days, 0 for none, not "$(value HISTORY)")
endif
GIVEN_DAYS = $(if $(HISTORY),-e retailflow_history_days=$(HISTORY))
.PHONY: up
up: bootstrap ## everything: hosts, services, wiring, proof (TARGET=aws for AWS; SITE=staging for another site beside it; REPLACE=postgres makes that host again; HISTORY=90 days of sales for a new shop, 0 none)
	@$(START_CLOUD)
	$(PLAYBOOK) site.yml -e '{"retailflow_replace": "$(subst ',,$(subst ",,$(REPLACE)))"}' \
	  $(if $(NEW),-e retailflow_new_database=true) $(GIVEN_DAYS)
	cat $(STATE)/summary.txt

.PHONY: run
run: bootstrap ## one cycle now: generate, sync, transform, check; prints net revenue
	@$(START_CLOUD)
	$(PLAYBOOK) playbooks/verify.yml
	cat $(STATE)/summary.txt

STREAM :=
.PHONY: refresh
refresh: made ## read every stream again from the start, then one cycle (STREAM=sales reads one)
	@$(PLAYBOOK) playbooks/refresh.yml -e '{"retailflow_refresh_streams": "$(STREAM)"}'
	cat $(STATE)/summary.txt

DAYS := 365
ROWS := 100000
BACKFILL = {"days": $(DAYS), "rows": $(ROWS), "batch_id": "backfill-$(DAYS)-$(ROWS)"}
.PHONY: backfill
backfill: made ## more sales in the past, on top of those that are there (DAYS=365 ROWS=100000); again goes on where it stopped
	@$(PLAYBOOK) playbooks/backfill.yml -e '{"retailflow_backfill": $(BACKFILL)}'

.PHONY: pause
pause: made ## stops generator and hosts, with their data, to save money
	@$(PLAYBOOK) playbooks/pause.yml

.PHONY: resume
resume: up ## goes on after a pause; make up does the same

WHAT := metabase
.PHONY: upgrade
upgrade: made ## Metabase to the image that the inventory names, or PostgreSQL (WHAT=postgres), with a way back
	@$(PLAYBOOK) playbooks/$(or $(upgrade-$(WHAT)),$(error WHAT is metabase or postgres, not "$(WHAT)"))
upgrade-metabase := upgrade.yml
upgrade-postgres := upgrade_postgres.yml

# What `make upgrade` takes for WHAT by itself means every secret here.
.PHONY: rotate
rotate: made ## new secrets while the site runs, again goes on after an interruption (WHAT="postgres snowflake"; all)
	@$(PLAYBOOK) playbooks/rotate.yml -e '{"retailflow_rotate": "$(if $(filter file,$(origin WHAT)),all,$(subst ',,$(subst ",,$(WHAT))))"}'

# Reads the hosts as they were made, so that it also answers where the AWS API does not.
.PHONY: status
status: ## is the site well? every part, freshness, rows, runs (fails if not; FORMAT=json for machines)
	@[ -x .venv/bin/ansible-playbook ] || { echo "error: nothing is installed here yet: run make up" >&2; exit 1; }
	tools/made $(TARGET) $(SITE)
	[ -f $(STATE)/hosts.yml ] || { echo "error: the site was not made to its end: run make up $(THIS)" >&2; exit 1; }
	rm -f $(STATE)/status.json $(STATE)/status.txt
	timeout --kill-after=2 90 ansible-playbook -i $(STATE)/hosts.yml -i inventory/$(TARGET).yml playbooks/status.yml \
	  < /dev/null > $(STATE)/status.log 2>&1 || true
	[ -f $(STATE)/status.txt ] || { cat $(STATE)/status.log >&2; echo "NOT WELL: the status could not be found out, see above" >&2; exit 1; }
	cat $(STATE)/status.$(if $(filter json,$(FORMAT)),json,txt)
	grep -q '^WELL' $(STATE)/status.txt

# The name and the region of the site where they are not those of the inventory: its settings come back only now.
NAME :=
REGION :=
ifneq ($(and $(SITE),$(NAME)),)
$(error NAME is the name of the inventory's own site, and SITE names another: give one of them)
endif
.PHONY: recover
recover: ## on a fresh clone: gets back secrets, settings and state of a site (TARGET=aws; NAME=shop REGION=eu-west-1)
	@tools/machine venv
	ansible-playbook -i inventory/$(TARGET).yml playbooks/recover.yml \
	  $(if $(NAME),-e retailflow_name=$(NAME)) $(if $(REGION),-e retailflow_region=$(REGION))
	$(PLAYBOOK) playbooks/rebuild.yml

.PHONY: migrate-state
migrate-state: ## moves Terraform's state from a file into the bucket (TARGET=aws)
	@tools/machine venv
	ansible-playbook -i inventory/$(TARGET).yml playbooks/migrate_state.yml

.PHONY: backup
backup: made ## a base backup of PostgreSQL now, into the object store
	@$(PLAYBOOK) playbooks/backup.yml

.PHONY: backups
backups: made ## what is stored: when, how large, from which moment to which
	@$(PLAYBOOK) playbooks/backups.yml > $(STATE)/backups.log 2>&1 || { cat $(STATE)/backups.log >&2; exit 1; }
	cat $(STATE)/backups.txt

AT :=
CLUSTER :=
.PHONY: restore
restore: made ## PostgreSQL as it was at a moment, then all that hangs on it (AT=2026-11-28T12:00 in UTC, or latest)
	@$(PLAYBOOK) playbooks/restore.yml -e '{"retailflow_restore_at": "$(subst ',,$(subst ",,$(AT)))", "retailflow_restore_cluster": "$(subst ',,$(subst ",,$(CLUSTER)))"}'
	cat $(STATE)/summary.txt

.PHONY: drill
drill: made ## proves a restore beside the running server: compares, prints how much and how long, removes itself
	@$(PLAYBOOK) playbooks/drill.yml

ACCOUNT :=
.PHONY: policy
policy: ## writes the IAM policies that TARGET=aws needs, and how to use them (ACCOUNT=123456789012 limits them to one)
	@tools/machine venv
	mkdir -p $(STATE)
	ansible-playbook -i inventory/$(TARGET).yml playbooks/policy.yml -e '{"retailflow_policy_account": "$(ACCOUNT)"}' \
	  > $(STATE)/policy.log 2>&1 || { cat $(STATE)/policy.log >&2; exit 1; }
	cat $(STATE)/policies/README.txt

.PHONY: pin-images
pin-images: ## upstream's images by what their tags stand for today (TARGET=aws); again, raises them
	@tools/machine venv
	ansible-playbook -i inventory/$(TARGET).yml playbooks/pin_images.yml

.PHONY: print-lambda
print-lambda: made ## the generator as AWS has it: configuration, environment, code
	@$(PLAYBOOK) playbooks/print_lambda.yml > $(STATE)/lambda.log 2>&1 || { cat $(STATE)/lambda.log >&2; exit 1; }
	cat $(STATE)/lambda.txt

# The host's shell gets COMMAND as it was typed: make does not read it, the shell of this machine does not either.
COMMAND :=
export RETAILFLOW_COMMAND := $(value COMMAND)
unexport COMMAND
SSH_HOSTS := ssh-ec2-postgres ssh-ec2-airbyte ssh-ec2-dagster-dbt ssh-ec2-metabase
.PHONY: $(SSH_HOSTS)
ssh-ec2-postgres: ## log in to a host: also ssh-ec2-airbyte, ssh-ec2-dagster-dbt, ssh-ec2-metabase (COMMAND="…" runs one)
$(SSH_HOSTS): made
	@tools/on-host $(STATE)/ssh_config $(@:ssh-%=%)

# Locally the pages are published on the loopback; on AWS an ssh tunnel brings them there.
.PHONY: open-dagster open-docs open-airbyte open-metabase
open-dagster: ## open a page: also open-docs (of dbt), open-airbyte, open-metabase (an ssh tunnel on AWS, until Ctrl-C)
open-dagster: PAGE = $(DAGSTER_URL) ec2-dagster-dbt 3000
open-docs: PAGE = $(DBT_DOCS_URL) ec2-dagster-dbt 3001
open-airbyte: PAGE = $(AIRBYTE_URL) ec2-airbyte 8000
open-metabase: PAGE = $(METABASE_URL) ec2-metabase 3000
open-dagster open-docs open-airbyte open-metabase: made
	@set -- $(PAGE)
	echo "$$1"
	if [ "$(TARGET)" = aws ]; then exec ssh -F $(STATE)/ssh_config -N -L "$${1##*:}:localhost:$$3" "$$2"; fi
	if [ -n "$${DISPLAY:-}$${WAYLAND_DISPLAY:-}" ] && command -v xdg-open >/dev/null; then xdg-open "$$1"; fi

# What was made last, as .env says.
.PHONY: made
made:
	@[ -z "$(SITE)" ] || tools/made $(TARGET) $(SITE)
	[ "$(RETAILFLOW_TARGET)" = "$(TARGET)" ] || { echo "error: the last site made here is not of the target $(TARGET): run make up $(THIS)" >&2; exit 1; }

.PHONY: screenshots
screenshots: made ## pictures of the dashboards for the documentation, in docs/images
	@tools/machine browser
	python tools/pages.py docs/images

.PHONY: docs
docs: ## the documentation as a site, in .cache/docs/site; fails on a link that leads nowhere
	@tools/machine venv
	.venv-lint/bin/python tools/docs_site.py

STAGES :=
.PHONY: test
test: ## everything that can fail (STAGES="lint unit stack molecule"; STAGES=faults breaks the site and heals it; SITE=main tests yours)
	@before=$$(mktemp)
	trap 'rm -f "$$before"' EXIT
	tools/machine-state > "$$before"
	tools/machine $(MACHINE) tests
	SITE=$(NAMED) tools/test --machine-was "$$before" $(STAGES)

SUBJECTS :=
.PHONY: bench
bench: bootstrap ## ratios measured in one run (FORMAT=json for machines; SUBJECTS="generator"; SUBJECTS=backends moves the running site)
	@FORMAT=$(FORMAT) PYTHONPATH=emulators/src python -m bench $(SUBJECTS)

# Pins stay as they are where they fit (UPGRADE=--upgrade raises them); the images take their versions from the first.
UPGRADE :=
COMPILE = uv pip compile --quiet --generate-hashes --no-header $(UPGRADE)
# The control node's Python is any from 3.11 on; in images it is Debian's, in the function Lambda's.
ANY_PYTHON = --universal --python-version 3.11
.PHONY: requirements
requirements: ## write the pinned requirements again from the .in files (UPGRADE=--upgrade raises them)
	$(COMPILE) $(ANY_PYTHON) requirements.in -o requirements.txt
	$(COMPILE) $(ANY_PYTHON) requirements-lint.in -o requirements-lint.txt
	(cd emulators && $(COMPILE) --python-version 3.11 -c ../requirements.txt requirements.in -o requirements.txt)
	(cd images/moto && $(COMPILE) --python-version 3.11 -c ../../requirements.txt requirements.in -o requirements.txt)
	(cd dagster && $(COMPILE) --python-version 3.11 -c ../requirements.txt requirements.in -o requirements.txt)
	(cd lambda && $(COMPILE) --no-annotate --python-version 3.11 --python-platform x86_64-manylinux2014 --only-binary :all: \
	  --no-emit-package greenlet requirements.in -o requirements.txt)

# What holds data on AWS stays, unless it is named on the command line: make down TARGET=aws retailflow_volumes_remove=true
retailflow_volumes_remove :=
retailflow_backup_remove :=
retailflow_snowflake_remove :=
retailflow_snowflake_remove_data :=
REMOVABLE := retailflow_volumes_remove retailflow_backup_remove retailflow_snowflake_remove retailflow_snowflake_remove_data
$(foreach one,$(REMOVABLE),$(if $(filter-out true false,$($(one))),$(error $(one) is true or false, not "$($(one))")))
.PHONY: down
down: ## removes everything of the site but, on AWS, data (retailflow_volumes_remove=true names some); caches stay
	@tools/take-down $(TARGET) "$(INVENTORY)$(foreach one,$(REMOVABLE),$(if $($(one)), -e $(one)=$($(one))))"

# Environments and caches serve both targets and are made again by the next one; state and secrets do not.
.PHONY: clean
clean: down ## also removes caches and environments inside the clone
	@rm -rf .venv .venv-lint .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis $(STATE) .secrets/$(FOLDER)
	for one in .state/{local,aws}{,-*} .secrets/{local,aws}{,-*}; do [ ! -e "$$one" ] || exit 0; done
	rm -rf .state .secrets .env
