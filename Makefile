# Every target does its own set-up: a fresh clone needs python3 (3.10 or later), a C compiler and make.
# The set-up happens once, in $(VENV), and again when what it was made from changes.
#
#   make demo ARGS="--short"            arguments for the program behind the target
#   make test PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# What is installed with the library. The demonstration with AMQP needs amqp, which is compiled; tests of examples also huey and mqtt.
EXTRAS ?= test,demo,amqp,huey,mqtt

PY := $(VENV)/bin/python
PIP := $(PY) -m pip -qq --disable-pip-version-check --no-input
PIP_INSTALL := $(PIP) install --progress-bar off --no-warn-script-location

# The installed project, ready to run; and the developers' tools on top of it.
READY := $(VENV)/.stamp-ready
TOOLS := $(VENV)/.stamp-tools
COMPILED := $(VENV)/.stamp-compiled
FUZZER := $(VENV)/.stamp-fuzz
WRITERS := $(VENV)/.stamp-docs

SOURCES := pyproject.toml setup.py $(wildcard qpidha/*.pyx qpidha/*.pxd qpidha/*/*.pyx qpidha/*/*.pxd)
# What `make compiled` is made of. An edit of one of them is enough for the sources to run again: qpidha/compiled.py.
PYTHON_SOURCES := $(wildcard qpidha/*.py qpidha/*/*.py qpidha/*/*/*.py)

# Tests that replace parts of core and node, which compiled modules do not let them do. They run on the sources.
UNIT := tests/unit tests/mutants tests/simulation tests/model tests/docs tests/property/test_core_twins.py

# Half a minute together. The first must search to the end and find nothing; the second leaves one rule out
# and must find what that rule is for, so that an empty answer of the first can be believed.
MODEL := tests/model/model.py
MODEL_RUN ?= bfs pub=1 acc=1 crash=0 prom=1 reconn=1 rem=1 add=1
MODEL_BROKEN_RUN ?= bfs -wait_all pub=2 acc=0 crash=1 prom=1 reconn=1 rem=1 add=0

# The same of the model of a broker's whole state, in half a minute.
STATE_RUN ?= bfs txn=1 pub=1 reconn=1 prom=1
STATE_BROKEN_RUN ?= bfs -tx_cons txn=1 pub=1 reconn=1 prom=1

# Three minutes together: everything in the order of its length, then in the order of its interruptions; then what clients
# change besides single messages.
EXPLORE_SHORT_RUN ?= --breadth --seconds 60
EXPLORE_RUN ?= --seconds 60
EXPLORE_CHANGES_RUN ?= --publish 1 --accept 0 --promote 1 --connect 1 --fault 1 --commit 1 --update 1 --delete 1 \
	--declare 1 --put 2 --produce 1 --repeat 1 --keep 1 --give_up 1 --forget 1 --fan_out 1 --seconds 60

# What reaches core, wire, queue types and store status directly. Longer tests reach them too, but say less about a line.
COVERING := $(addprefix tests/unit/,core queues clusterfile recovery promoters stores wire testing/conformance/test_queue.py) \
	tests/integration/test_queue_types.py tests/integration/test_queue_hazards.py tests/scenarios tests/fuzz

# The compiled code is built and tested in a copy: the checkout keeps its fast one.
SANITIZED := build/sanitize
SANITIZING := $(patsubst %,tests/unit/test_%.py,sequence_set sequence_tracker serial) tests/unit/wire/test_batch.py \
	$(patsubst %,tests/property/test_sequence_%_model.py,set tracker) tests/fuzz/test_corpus.py \
	-k 'not (comparison or handshake or record or session or snapshot or status or store)'

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup compiled demo test lint format types bench bench-parts model explore coverage fuzz sanitize model-full state-model state-model-full replay crash-states soak mutants machines site wheel release-check clean distclean

help:  ## Show the targets.
	@echo 'make TARGET [ARGS="..."] [PYTHON=python3] [VENV=.venv]'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(READY)  ## Run the demonstration: ARGS="--short", ARGS="--broker amqp", ARGS="--records etcd", ARGS="--input FILE".
	@$(VENV)/bin/qpidha demo $(ARGS)

# Half of the tests wait most of their time. A file stays whole: its tests may share brokers.
# Status 5: none of these tests was asked for.
test: $(READY)  ## Run the tests: ARGS="-k seq", ARGS="-m 'not slow'", ARGS=-n0 for one process.
	@QPIDHA_PURE=1 $(PY) -m pytest $(UNIT) -n 2 --dist loadfile --benchmark-disable $(ARGS) || test $$? -eq 5
	@$(PY) -m pytest tests/ -n 2 --dist loadfile --benchmark-disable --ignore tests/machines \
		$(addprefix --ignore ,$(UNIT)) $(ARGS)

# Their network stands still when the processors are busy, so they are not among the others.
machines: $(READY)  ## Run the tests on machines made of network namespaces, as root: ARGS="-k cut".
	@$(PY) -m pytest -q tests/machines $(ARGS)

coverage: $(TOOLS)  ## Run the tests of core, wire, queue types and store status; each of their branches must be taken.
	@QPIDHA_PURE=1 $(PY) -m coverage run -m pytest -q $(COVERING) $(ARGS)
	@$(PY) -m coverage report

# With atheris on the sources, which tell it what an input has reached; without it on compiled modules, if they are there.
fuzz: $(FUZZER)  ## Run the fuzz targets: ARGS="--target frame --seconds 60", ARGS=--blind for what `make compiled` made.
	@$(if $(findstring --blind,$(ARGS)),,QPIDHA_PURE=1) $(PY) -m tests.fuzz.run $(ARGS)

sanitize: $(TOOLS)  ## Run the tests of the compiled code with address and undefined-behaviour sanitizers.
	@rm -rf $(SANITIZED) && mkdir -p $(SANITIZED)
	@tar -cf - --exclude='*.so' --exclude='*.c' --exclude=__pycache__ qpidha tests docs setup.py \
		pyproject.toml README.md LICENSE | tar -xf - -C $(SANITIZED)
	@cd $(SANITIZED) && QPIDHA_SANITIZE=1 $(abspath $(PY)) setup.py -q build_ext --inplace
	@cd $(SANITIZED) && QPIDHA_PURE=1 LD_PRELOAD=$$($${CC:-cc} -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 \
		PYTHONMALLOC=malloc HYPOTHESIS_PROFILE=$${HYPOTHESIS_PROFILE:-quick} \
		$(abspath $(PY)) -m pytest -q $(SANITIZING) $(ARGS)
	@rm -rf $(SANITIZED)

crash-states: $(READY)  ## Power cuts, failing disks, flipped bits: ARGS=--full for every fault of every call.
	@$(PY) -m pytest tests/storage/ -rP $(ARGS)

soak: $(READY)  ## Real brokers under a schedule of faults: ARGS="--minutes 30 --seed 1".
	@$(PY) -m tests.soak $(ARGS)

mutants: $(READY)  ## Plant bugs, one at a time; each must be noticed: ARGS="--list", ARGS="--seeds 200 O4".
	@$(PY) -m tests.mutants $(ARGS)

lint: $(TOOLS)  ## Check rules and layout of the code, and that the news fragments can be read.
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m towncrier build --draft --version next >/dev/null 2>&1 || $(PY) -m towncrier build --draft --version next

format: $(TOOLS)  ## Put the code into the layout that lint wants.
	@$(PY) -m ruff check --fix-only --quiet .
	@$(PY) -m ruff format .

types: $(TOOLS)  ## Check the types, and the stubs against the compiled modules.
	@$(PY) -m mypy
	@$(PY) -m mypy.stubtest --mypy-config-file pyproject.toml qpidha._seq qpidha._serial qpidha.wire._batch

bench: $(COMPILED)  ## Measure the whole table, peers included: ARGS="--quick", ARGS="--only resync".
	@$(PY) -m benchmarks $(ARGS)

bench-parts: $(COMPILED)  ## Benchmark the parts: ARGS="-k codec", ARGS="--benchmark-compare".
	@$(PY) -m pytest benchmarks/ --benchmark-columns=min,median,max,ops --benchmark-sort=name $(ARGS)

model:  ## Search the protocol model: MODEL_RUN="walk tlimit=600 ..." for larger budgets.
	@$(CHECK_PYTHON)
	@out=$$($(PYTHON) $(MODEL) $(MODEL_RUN)); status=$$?; printf '%s\n' "$$out"; \
		case "$$status $$out" in \
		*"'complete': False"*) echo 'model: not searched to the end' >&2; exit 1;; \
		"0 "*) ;; \
		*) echo 'model: it failed, or found a counterexample' >&2; exit 1;; esac
	@out=$$($(PYTHON) $(MODEL) $(MODEL_BROKEN_RUN)); printf '%s\n' "$$out"; \
		case "$$out" in *"'err': 'S"*) echo 'model: that counterexample was asked for';; \
		*) echo 'model: the broken protocol was not caught' >&2; exit 1;; esac

explore: $(READY)  ## Search all interleavings over the real core: ARGS="--publish 2 --fault 1".
	@$(PY) -m qpidha.testing.explorer $(EXPLORE_SHORT_RUN) $(ARGS)
	@$(PY) -m qpidha.testing.explorer $(EXPLORE_RUN) $(ARGS)
	@$(PY) -m qpidha.testing.explorer $(EXPLORE_CHANGES_RUN) $(ARGS)

model-full:  ## Search it to the end, and without each rule once: ARGS="limit=60 NAME ..."; minutes.
	@$(CHECK_PYTHON)
	@$(PYTHON) tests/model/full.py $(ARGS)

state-model:  ## Search the model of a broker's whole state: STATE_RUN="walk tlimit=600 pub=3 txn=2 ...".
	@$(CHECK_PYTHON)
	@out=$$($(PYTHON) -m tests.model.state $(STATE_RUN)); status=$$?; printf '%s\n' "$$out"; \
		case "$$status $$out" in \
		*"'complete': False"*) echo 'model: not searched to the end' >&2; exit 1;; \
		"0 "*) ;; \
		*) echo 'model: it failed, or found a counterexample' >&2; exit 1;; esac
	@out=$$($(PYTHON) -m tests.model.state $(STATE_BROKEN_RUN)); printf '%s\n' "$$out"; \
		case "$$out" in *"'err': 'F3"*) echo 'model: that counterexample was asked for';; \
		*) echo 'model: the broken protocol was not caught' >&2; exit 1;; esac

state-model-full:  ## Search it to the end, in walks, and without each rule once: ARGS="limit=60 NAME ..."; two hours.
	@$(CHECK_PYTHON)
	@$(PYTHON) -m tests.model.state full $(ARGS)

replay: $(READY)  ## Follow random runs of the core in the protocol model, play traces of the state model: ARGS="FIRST_SEED RUNS STEPS".
	@QPIDHA_PURE=1 PYTHONPATH=. $(PY) tests/model/replay.py $(ARGS)
	@PYTHONPATH=. $(PY) -m tests.model.statereplay $(ARGS)

# With other arguments, such as those of linkcheck, what is built is no site.
site: $(WRITERS)  ## Build the documentation as a site, in build/site: ARGS="-b linkcheck" looks at links to elsewhere.
	@QPIDHA_PURE=1 $(PY) -m docs.site build/site-source
	@QPIDHA_PURE=1 $(PY) -m sphinx -c docs/site -d build/site-cache -W --keep-going -q build/site-source build/site $(ARGS)
	@$(if $(ARGS),,$(PY) -m tests.site build/site)

wheel: $(TOOLS)  ## Build dist/*.tar.gz, and dist/*.whl from it.
	@$(PY) -m build --outdir dist .

release-check: $(TOOLS)  ## What is still to be filled in before a release (docs/releasing.md)
	@$(PY) -m tests.release

clean:  ## Remove what was built, and the stamps, so that the next target builds again.
	rm -rf build dist *.egg-info .benchmarks .hypothesis .mypy_cache .pytest_cache .ruff_cache demo-out
	rm -rf qpidha/_compiled
	rm -f qpidha/*.so qpidha/*/*.so qpidha/*.c qpidha/*/*.c $(READY) $(TOOLS) $(COMPILED) $(FUZZER) $(WRITERS)
	find qpidha tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean  ## clean, and remove the virtual environment too.
	if test -f $(VENV)/pyvenv.cfg; then rm -rf $(VENV); fi

setup: $(READY)  ## Only the set-up, for working in $(VENV) by hand.

compiled: $(COMPILED)  ## Compile the Python modules that wheels have compiled: most of a minute.

# --- set-up

define CHECK_PYTHON
command -v $(PYTHON) >/dev/null 2>&1 || { \
	echo 'No $(PYTHON) here. Install Python 3.10 or later, or name one: make PYTHON=/path/to/python3' >&2; exit 1; }; \
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	echo "$$($(PYTHON) --version 2>&1) is too old. Name a Python 3.10 or later: make PYTHON=python3.12" >&2; exit 1; }
endef

# pip comes last, so a virtual environment that was left half-made has none, and is completed.
$(VENV)/bin/pip:
	@$(CHECK_PYTHON)
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo '$(PYTHON) cannot make virtual environments: its ensurepip or venv module is missing.' >&2; \
		echo 'On Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	@echo 'Creating $(VENV)'
	@$(PYTHON) -m venv $(VENV)

$(READY): $(SOURCES) | $(VENV)/bin/pip
	@$(PY) -c 'import os, sys, sysconfig; \
		sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || { \
		echo 'The header files of this Python are missing. On Debian and Ubuntu: apt-get install python3-dev' >&2; exit 1; }
	@command -v $${CC:-cc} >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1 || { \
		echo 'No C compiler found. On Debian and Ubuntu: apt-get install gcc libc6-dev' >&2; exit 1; }
	@echo 'Installing qpidha into $(VENV) and compiling its extensions'
	@QPIDHA_PURE=1 $(PIP_INSTALL) --editable '.[$(EXTRAS)]'
	@touch $@

# qpidha is installed already, so this adds what its extra names and nothing else.
$(TOOLS): $(READY)
	@echo 'Installing the tools for development into $(VENV)'
	@$(PIP_INSTALL) 'qpidha[dev]'
	@touch $@

$(COMPILED): $(TOOLS) $(PYTHON_SOURCES)
	@QPIDHA_PURE=0 $(PY) -c 'import qpidha' 2>/dev/null || { echo 'Compiling Python modules, for most of a minute'; \
		$(PY) setup.py -q build_ext --inplace >$(VENV)/compiled.log 2>&1 || { tail -n 40 $(VENV)/compiled.log >&2; exit 1; }; }
	@QPIDHA_PURE=0 $(PY) -c 'import qpidha'
	@touch $@

$(FUZZER): $(READY)
	@echo 'Installing atheris into $(VENV), if there is one for this Python'
	@$(PIP_INSTALL) 'qpidha[fuzz]'
	@touch $@

$(WRITERS): $(READY)
	@echo 'Installing the tools for the documentation into $(VENV)'
	@$(PIP_INSTALL) 'qpidha[docs,opentelemetry,prometheus]'
	@touch $@
