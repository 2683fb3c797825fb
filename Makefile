# Short names for the commands of README.md. `make` lists them.
# Works with any POSIX shell and GNU make 3.81, the version of macOS.

.DEFAULT_GOAL := help
COMPOSE := docker compose
RUN := $(COMPOSE) run --rm --build --no-deps

# Attestations contain a time stamp: an unchanged image would count as new after each build, and replace its containers.
export BUILDX_NO_DEFAULT_ATTESTATIONS := 1

# Runs a command and prints how long it took: $(call timed,NAME,COMMAND)
timed = start=$$(date +%s); $(2); status=$$?; printf '%s: %d s\n' '$(1)' $$(($$(date +%s) - start)); exit $$status

# Address of a published port of a service: $(call url,SERVICE,PORT)
url = http://$$($(COMPOSE) port $(1) $(2) 2>/dev/null | sed -E 's/^(127\.0\.0\.1|0\.0\.0\.0|\[::\])/localhost/')

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- The fleet -------------------------------------------------------------------------------------------------------

.PHONY: up
up: prepare build start urls ## Start the fleet: build what changed, and print its addresses

.PHONY: prepare
prepare: ## Check Docker, Compose and the base images; get missing ones (see offline/README.md)
	@$(call timed,prepare,offline/prepare)

.PHONY: check-images
check-images: ## Check that the local base images have the features that the fleet uses
	@offline/check-images

.PHONY: build
build:
	@$(call timed,build,$(COMPOSE) build)

.PHONY: build-all
build-all:
	@$(call timed,build,$(COMPOSE) --profile tests build)

.PHONY: start
start:
	@$(call timed,start,$(COMPOSE) up --detach --wait)

.PHONY: urls
urls: ## Print the addresses of the fleet
	@printf '%-12s %s\n' \
	  'API' "$(call url,reverse-proxy,5001)/docs" \
	  'Dashboard' "$(call url,reverse-proxy,5002)" \
	  'Kafka UI' "$(call url,reverse-proxy,8080)" \
	  'Flink UI' "$(call url,reverse-proxy,8081)"

.PHONY: ps
ps: ## Show the containers and their health
	@$(COMPOSE) ps --all

.PHONY: logs
logs: ## Follow the logs (one service: make logs S=llm-consumer)
	@$(COMPOSE) logs --follow --tail 50 $(S)

.PHONY: traffic
traffic: ## Ask 50 questions, two per second
	docker exec traffic_generator python generate_traffic.py --num-requests 50 --interval 500

.PHONY: demo
demo: prepare build-all start ## Run docs/demonstration.md step by step on the fleet (DEMO_LANG=es: in Spanish; YES=1: no pauses)
	@$(COMPOSE) run --rm --no-deps --env DEMO_LANG=$(DEMO_LANG) --env YES=$(YES) tests python -m tests.demonstration

.PHONY: schema
schema: ## Write the schema of the fleet's database to sql/schema.sql
	@sql/dump > sql/schema.sql.new && mv sql/schema.sql.new sql/schema.sql

.PHONY: redeploy
redeploy: ## Rebuild one service and replace its containers (make redeploy S=storage-service)
	@[ -n "$(S)" ] || { echo 'which service? make redeploy S=NAME' >&2; exit 2; }
	@$(COMPOSE) up --detach --wait --no-deps --build $(S)

.PHONY: down
down: ## Stop the fleet; its data stays
	$(COMPOSE) down

.PHONY: reset
reset: ## Stop the fleet and delete its data (YES=1: without asking)
	@[ -n "$(YES)" ] || { printf 'Delete all questions, answers and messages? [y/N] ' >&2; read -r answer && [ "$$answer" = y ]; }
	$(COMPOSE) --profile tests down --volumes --remove-orphans

.PHONY: check-provider
check-provider: prepare ## Make one call to each model of .env, and two to the judge, and explain errors
	@$(RUN) llm-consumer python -m llm_consumer.check_provider; status=$$?; \
	  $(RUN) judge-service python -m judge_service.check_judge && exit $$status

# --- Tests and tools, in their container -----------------------------------------------------------------------------

# Tests, drills and studies kill containers, delete data and measure, so they run on a separate fleet.
WITH_FLEET := tests/with_fleet

.PHONY: test
test: prepare build-all ## Run all tests, or T=PATH, on a separate fleet (yours is stopped meanwhile; its data stays)
	@$(WITH_FLEET) $(COMPOSE) run --rm tests $(if $(T),pytest $(T))

# Builds first; docs is mounted, because the ledger is written there.
drills = $(MAKE) --no-print-directory prepare build-all && \
	$(WITH_FLEET) $(COMPOSE) run --rm --volume "$(CURDIR)/docs:/app/docs" tests python -m tests.drills --seed $(SEED)

# Seed of the scripts and of the soak's faults.
SEED ?= 1

.PHONY: drill
drill: ## Break one part after the other under load and write docs/ledger.md (F=NAME,NAME: only these; F=list: names)
	@$(if $(filter list,$(F)),$(RUN) tests python -m tests.drills --list,$(drills) $(if $(F),--faults $(F)) --output docs/ledger.md)

# Half of the throughput of the drills' llm-consumers, so that they catch up between outages.
.PHONY: soak
soak: ## Cause a fault each minute for an hour, or for MINUTES, and write docs/soak.md
	@$(drills) --rate 5 --output docs/soak.md soak --minutes $(or $(MINUTES),60)

.PHONY: study
study: ## List the studies, or run some (S=NAME,NAME) and write their documents to docs
	@studies/run '$(S)' $(OPTIONS)

.PHONY: judge-study
judge-study: ## Ask the judge of .env about labelled answers and write docs/judge-study.md (the fleet must run)
	@studies/run judge $(OPTIONS)

.PHONY: lint
lint: prepare ## Check style and types
	$(RUN) tests sh -c 'ruff check --no-cache . && ruff format --no-cache --check . && mypy --cache-dir=/tmp/mypy && npm run lint \
	  && codespell && pymarkdown scan --recurse --exclude "node_modules/**" .'

.PHONY: docs
docs: prepare ## Generate the documents that are derived from the code
	$(RUN) --user "$$(id -u):$$(id -g)" --volume "$(CURDIR)/docs:/app/docs" tests python -m tools.documents

# --- Without Docker -----------------------------------------------------------------------------------------

PYTHON ?= python3

.venv/bin/pytest: tests/requirements.txt package-lock.json
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make venv PYTHON=python3.12")'
	$(PYTHON) -m venv .venv && .venv/bin/pip install --quiet --requirement tests/requirements.txt
	PATH="$(CURDIR)/.venv/bin:$$PATH" npm ci --no-audit --no-fund --silent && touch $@

.PHONY: venv
venv: .venv/bin/pytest ## Create .venv for the unit tests and checks

.PHONY: test-unit
test-unit: venv ## Run the tests that need no Docker, or T=PATH
	PATH="$(CURDIR)/.venv/bin:$$PATH" pytest --numprocesses auto $(or $(T),tests/unit tests/compose)

.PHONY: lock
lock: venv ## Compile the lists of requirements, with hashes (OPTIONS=--upgrade: newer versions)
	.venv/bin/pip install --quiet uv==0.13.9 && PATH="$(CURDIR)/.venv/bin:$$PATH" tools/lock $(OPTIONS)

.PHONY: format
format: venv ## Format the code and apply automatic fixes
	.venv/bin/ruff format . && .venv/bin/ruff check --fix .
	PATH="$(CURDIR)/.venv/bin:$$PATH" npm run format
