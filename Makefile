# Every target works on a fresh clone with python3 (3.10 or newer), a C compiler and a package index: what it
# needs is put into a virtual environment, and put there again when a file that it depends on changes.
#
#   PYTHON=python3.12 VENV=.venv312 make test     another interpreter
#   make test ARGS="-k encode"                    arguments for pytest
#   make test DEV=1                               in Python's development mode, every warning an error
#   make test SDK=oldest                          with another SDK: oldest that pyproject.toml allows, newest, pre, 1.45.1

PYTHON ?= python3
VENV ?= $(if $(SDK),build/sdk/$(SDK),.venv)
SDK ?=
ARGS ?=
SECONDS ?= 600
RATE ?= 20000

# pip takes a pre-release of a package only where its range names one.
OLDEST := $(shell sed -nE 's/.*"opentelemetry-sdk>=([0-9.]+)".*/\1/p' pyproject.toml)
RANGE_oldest := ==$(OLDEST).0
RANGE_newest := >=$(OLDEST)
RANGE_pre := >=$(OLDEST).dev0
ifneq ($(SDK),)
    export PIP_CONSTRAINT := $(abspath $(VENV)).txt
    $(shell mkdir -p $(dir $(PIP_CONSTRAINT)) && printf 'opentelemetry-%s$(or $(RANGE_$(SDK)),==$(SDK))\n' api sdk \
        >$(PIP_CONSTRAINT))
endif

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
NATIVE := $(wildcard src/otlpfast/*.pyx src/otlpfast/*/*.pyx src/otlpfast/*/*.pxd src/otlpfast/*/*.pxi \
    $(addprefix src/otlpfast/profiling/_sampler/*,.pxi .c .h))
BUILT := $(VENV)/.built
SANITIZED := build/sanitize/.built
COUNTED := build/coverage/.built

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test reliability bench plot scenarios latency service soak
.PHONY: profiling stress growth layers builds gate bench-gate slowed lint format
.PHONY: sdist wheel wheels sanitize coverage collector gateway clean
.PHONY: docs changelog fuzz picture

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

demo: $(BUILT) $(VENV)/.group-demo ## a web service traced by the stock pipeline, then by otlpfast, side by side
	@$(BIN)/otlpfast demo $(ARGS)

test: suite-c suite-py ## the test suite, on the compiled and on the pure implementation

# pytest, after a look whether that implementation is the one that gets loaded
suite-%: $(BUILT) $(VENV)/.group-test
	@OTLPFAST_IMPL=$* $(BIN)/python -c 'import otlpfast as o; from importlib.metadata import version; \
	    print("otlpfast", o.__version__, o.IMPLEMENTATION + ", SDK", version("opentelemetry-sdk"), flush=True); \
	    assert o.IMPLEMENTATION == "$*"'
	@$(IN_DEVELOPMENT) OTLPFAST_IMPL=$* $(BIN)/python -m pytest $(ARGS)

# DEV=1: as `python -X dev -W error`, and so are the programs that tests start.
IN_DEVELOPMENT := $(if $(DEV),PYTHONDEVMODE=1 PYTHONWARNINGS=error)

reliability: $(BUILT) $(VENV)/.group-reliability ## every fault, on otlpfast and on the stock SDK; docs/reliability.md
	@$(BIN)/python -m tests.faults $(ARGS)

bench: $(BUILT) $(VENV)/.group-bench ## benchmarks against the stock SDK; writes README.md and docs, HISTORY=1 keeps the run
	@mkdir -p build
	@$(BIN)/python -m pytest bench --benchmark-json=build/bench.json $(ARGS)
	@$(if $(ARGS),,$(BIN)/python -m bench.tables build/bench.json)
	@$(if $(HISTORY),$(BIN)/python -m bench.history build/bench.json)

plot: $(BUILT) ## the history of the benchmarks as a chart in build/history.svg
	@$(BIN)/python -m bench.plot $(ARGS)

scenarios: $(BUILT) $(VENV)/.group-bench ## the specification's scenarios, with rivals; writes README.md and docs/benchmarks.md
	@$(BIN)/python -m bench.scenarios $(ARGS)

picture: $(BUILT) $(VENV)/.group-demo ## docs/demo.svg: what tracing costs the demo's service; writes docs/benchmarks.md
	@$(BIN)/python -m bench.picture $(ARGS)

latency: $(BUILT) $(VENV)/.group-bench ## how long spans take, how late other threads get; writes docs/benchmarks.md
	@$(BIN)/python -m bench.latency $(ARGS)

service: $(BUILT) $(VENV)/.group-test ## FastAPI and Flask under wrk, traced or not; writes docs/benchmarks.md
	@$(BIN)/python -m bench.service $(ARGS)

soak: $(BUILT) $(VENV)/.group-bench ## spans for SECONDS at RATE a second to a collector in trouble: none may get lost
	@$(BIN)/python -m bench.soak --seconds $(SECONDS) --rate $(RATE) --json build/soak.json $(ARGS)

growth: $(BUILT) $(VENV)/.group-bench ## cost by attributes, events, sizes, queue, scopes; writes docs/benchmarks.md
	@$(BIN)/python -m bench.growth $(ARGS)

profiling: $(BUILT) $(VENV)/.group-bench ## what a CPU profile costs while it is taken
	@$(BIN)/python -m bench.profiling $(ARGS)

stress: $(BUILT) $(VENV)/.group-test ## CPU profiles of what makes a walk of frames hard, for SECONDS: no crash
	@OTLPFAST_IMPL=c $(BIN)/python -m tests.profiling_stress --seconds $(SECONDS) $(ARGS)

fuzz: $(BUILT) $(VENV)/.group-test $(VENV)/.group-fuzz ## what is read from outside, at random, for SECONDS: nothing raises or hangs
	@OTLPFAST_IMPL=c $(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(ARGS)

bench-gate: $(BUILT) $(VENV)/.group-bench ## instructions an operation takes against bench/baseline.json; needs valgrind
	@$(BIN)/python -m bench.gate $(ARGS)

gate: bench-gate

slowed: $(BUILT) $(VENV)/.group-bench ## that the gate fails a build which is slower; needs gcc and valgrind
	@$(BIN)/python -m bench.slowed

layers: $(BUILT) $(VENV)/.group-bench ## where the instructions go; writes docs/performance.md; needs valgrind
	@$(BIN)/python -m bench.layers $(ARGS)

builds: $(BUILT) $(VENV)/.group-bench ## -O2, -O3, LTO and PGO compared; writes docs/performance.md; needs gcc and valgrind
	@$(BIN)/python -m bench.builds $(ARGS)

lint: $(BUILT) $(VENV)/.group-lint ## ruff, cython-lint, mypy --strict, stubtest
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(abspath $(BIN)):$$PATH" cython-lint src # calls pycodestyle by name
	$(BIN)/python -m mypy
	$(BIN)/python -m mypy.stubtest otlpfast._core otlpfast.profiling._sampler

format: $(VENV)/.group-lint ## rewrite the Python sources as ruff would have them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.group-docs ## the documentation as a site in build/site; a link to nowhere is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet $(ARGS)

changelog: $(VENV)/.group-changes ## what the next release would add to CHANGELOG.md
	@$(BIN)/towncrier build --draft --version $${VERSION:-$$(sed -n 's/^version = "\([^"]*\)".*/\1/p' pyproject.toml)} $(ARGS)

# What is built again from the same commit has the same bytes: the time in an archive is that of the commit.
EPOCH := $${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null || date +%s)}

sdist: $(VENV)/.group-wheel ## sdist and pure wheel (built from that sdist) in dist/
	@export SOURCE_DATE_EPOCH="$(EPOCH)"; OTLPFAST_BUILD=pure $(BIN)/python -m build --outdir dist .

wheel: $(VENV)/.group-wheel ## sdist and compiled wheel (built from that sdist) in dist/
	@export SOURCE_DATE_EPOCH="$(EPOCH)" OTLPFAST_BUILD=$${OTLPFAST_BUILD:-require} OTLPFAST_PGO=$${OTLPFAST_PGO:-1}; \
	    $(BIN)/python -m build --outdir dist .

PYTHONS ?= $(shell $(BIN)/python .ci/try_wheels.py --find)

wheels: sdist ## wheels for PYTHONS (all that are found), each installed and tried in an empty environment
	@export SOURCE_DATE_EPOCH="$(EPOCH)"; $(BIN)/python .ci/try_wheels.py $(PYTHONS)

sanitize: $(SANITIZED) $(VENV)/.group-test ## the test suite on the compiled core under ASAN and UBSAN
	@$(UNDER_SANITIZERS) $(BIN)/python -c 'from otlpfast import _core as core; \
	    print("otlpfast", core.__file__, flush=True); assert "/sanitize/" in core.__file__'
	@$(UNDER_SANITIZERS) $(BIN)/python -m pytest $(NOT_SANITIZED) $(ARGS)

coverage: $(COUNTED) $(VENV)/.group-test $(VENV)/.group-coverage ## lines that tests run, of both implementations; ARGS=--help
	@$(BIN)/python .ci/cover.py $(ARGS)

collector: ## the official OpenTelemetry Collector, for tests/test_official_collector.py; needs Go 1.25
	@tests/build_collector.sh build/collector/otelcol tests/otelcol.yaml

gateway: ## a Collector with all that deploy/collector names, for its tests; takes minutes; needs Go 1.26
	@tests/build_collector.sh build/collector/otelcol-deploy deploy/collector/builder.yaml

clean: ## everything that was built or installed here
	rm -rf build dist $(VENV) src/*.egg-info src/otlpfast/*.so src/otlpfast/*.pyd
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Under sanitizers runs what drives the native code, but for what forks after gRPC has made threads: a child whose
# parent held the sanitizer's lock waits for ever.
SANITIZED_TESTS := $(wildcard $(patsubst %,tests/test_%.py,batch buffers counters encode* impl memory parse pool* \
    processor* propagation propagation_w3c redaction* sampling_rules selfmetrics simple* trace_* wire))
NOT_SANITIZED := $(patsubst %,--ignore=%,tests/test_trace_current.py \
    $(filter-out $(SANITIZED_TESTS),$(wildcard tests/test_*.py)))

# The interpreter is not instrumented: the sanitizers come in through LD_PRELOAD, and its own memory pools are
# switched off so that AddressSanitizer sees each object. No leak check: an interpreter frees little at exit.
define UNDER_SANITIZERS
LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
    ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
    PYTHONMALLOC=malloc PYTHONPATH=build/sanitize/lib OTLPFAST_IMPL=c OTLPFAST_SANITIZE=1
endef

$(VENV)/.pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "otlpfast needs Python 3.10 or newer: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	    { echo "No virtual environment: on Debian and Ubuntu, apt install python3-venv (and python3-dev)"; exit 1; }
	@$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.group-%: pyproject.toml | $(VENV)/.pip
	@echo "installing the dependency group '$*' into $(VENV)"
	@$(PIP) install --group $*
	@touch $@

# No build isolation: compiling again after a change then costs no environment of its own.
$(BUILT): setup.py pyproject.toml $(NATIVE) | $(VENV)/.group-build
	@echo "compiling otlpfast into $(VENV)"
	@OTLPFAST_BUILD=require $(PIP) install --no-build-isolation --editable .
	@touch $@

$(SANITIZED): $(BUILT) $(wildcard src/otlpfast/*.py src/otlpfast/*/*.py src/otlpfast/*/*/*.py)
	@echo "compiling otlpfast with sanitizers into build/sanitize"
	@rm -rf build/sanitize
	@CC=gcc OTLPFAST_BUILD=require OTLPFAST_SANITIZE=1 $(BIN)/python setup.py --quiet build \
	    --build-base build/sanitize --build-lib build/sanitize/lib
	@touch $@

$(COUNTED): $(BUILT) $(wildcard src/otlpfast/*.py src/otlpfast/*/*.py src/otlpfast/*/*/*.py)
	@echo "compiling otlpfast for coverage into build/coverage"
	@rm -rf build/coverage
	@OTLPFAST_BUILD=require OTLPFAST_COVERAGE=1 $(BIN)/python setup.py --quiet build \
	    --build-base build/coverage --build-temp build/coverage/c --build-lib build/coverage/lib
	@touch $@
