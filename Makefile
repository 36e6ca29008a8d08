# The whole interface of the project for whoever builds it: make demo, make test, make bench, make lint.
# Each target first sets up what it needs: Debian packages, a virtual environment in .venv, the lab (QEMU and guest kernels).

SHELL := /bin/bash
VENV := .venv
PYTHON := $(VENV)/bin/python
RUST_SOURCES := Cargo.toml Cargo.lock $(shell find datapath -name '*.rs' -o -name Cargo.toml)
PYTEST := $(PYTHON) -m pytest

.PHONY: help setup peers install lab demo test test-fast test-rust test-fuzz test-guests bench-driver fuzz soak bench bench-fast lint format docs clean

help:
	@echo "make demo   the transitional hotplug workflow, end to end, on stock QEMU and stock kernels"
	@echo "make test   every test (make test-fast: without guests)"
	@echo "make fuzz   every fuzz target for TIME seconds (60), with libFuzzer where it is there"
	@echo "make soak   what must hold a thousand times: VFs killed among others (MINUTES=5), moves (MOVES=50, MIGRATIONS=100)"
	@echo "make bench  beside the peers, as ratios (ROWS=small,latency: these only; make bench-fast: cycles a frame, in seconds)"
	@echo "make lint   ruff, mypy, import contracts, clippy, rustfmt"

setup:
	@tools/setup

peers:
	@tools/setup peers

install: setup $(VENV)/installed

$(VENV)/installed: pyproject.toml $(RUST_SOURCES)
	@test -x $(PYTHON) || python3 -m venv $(VENV)
	@echo "installing softdpu into $(VENV): Python packages, and the datapath by cargo"
	@tools/with-rust $(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

lab: install
	@$(VENV)/bin/softdpu lab build

demo: lab
	@$(PYTHON) -m tools.demo

test: peers lab test-rust test-fuzz bench-driver
	@$(PYTEST) -m "not guest" -n 2
	@$(PYTEST) -m guest

test-fast: peers install test-rust bench-driver
	@$(PYTEST) -m "not guest" -n 2

test-rust: install
	@tools/with-rust cargo test --quiet --release --locked

# Before the tests that run it: compiling it takes longer than a test may on a busy machine.
bench-driver: peers install
	@tools/with-rust cargo build --quiet --release --locked --package softdpu-bench-driver --features dpdk

test-fuzz: install
	@tools/with-rust tools/fuzz --stable $(TIME)

fuzz: install
	@tools/with-rust tools/fuzz $(TIME)

test-guests: lab
	@$(PYTEST) -m guest

bench: peers lab
	@$(PYTHON) -m tools.bench $(ROWS)

# Some 25 minutes; 0 leaves a part out.
soak: lab
	@$(PYTHON) -m tools.soak --minutes $(or $(MINUTES),5) --moves $(or $(MOVES),50) --migrations $(or $(MIGRATIONS),100)

# Cheap enough for every commit.
bench-fast: peers install
	@$(PYTHON) -m tools.bench.fast

lint: install
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports
	@$(PYTHON) -m softdpu.datapath.generate --check
	@if tools/with-rust cargo clippy --version >/dev/null 2>&1; then \
	    tools/with-rust cargo clippy --release --locked --all-targets --all-features -- -D warnings && \
	    tools/with-rust cargo clippy --release --locked --manifest-path fuzz/Cargo.toml --target-dir target/fuzz -- -D warnings; \
	else echo "lint: this Rust toolchain has no clippy (Debian's cargo-web has none): the datapath is not checked with it"; fi
	@if tools/with-rust cargo fmt --version >/dev/null 2>&1; then \
	    tools/with-rust cargo fmt --check && tools/with-rust cargo fmt --check --manifest-path fuzz/Cargo.toml; \
	else echo "lint: this Rust toolchain has no rustfmt: the datapath's layout is not checked"; fi

format:
	@$(VENV)/bin/ruff check --fix
	@$(VENV)/bin/ruff format
	@tools/with-rust cargo fmt
	@tools/with-rust cargo fmt --manifest-path fuzz/Cargo.toml

clean:
	rm -rf $(VENV) target build src/*.egg-info
