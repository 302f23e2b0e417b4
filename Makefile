# Short names for what a change goes through. `make check` is all that CI runs.
BUF := target/tools/bin/buf
.PHONY: fmt lint test check run demo bench drain proto-lint proto-breaking compiler

fmt:
	cargo fmt --all

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

test: compiler
	cargo test --workspace

check:
	.ci/run

run:
	cargo run -- serve --config $(or $(CONFIG),tollgate.toml)

# The gateway's story, then the connectors' one against local fakes of the CRMs.
demo: compiler
	cargo run --release -- demo $(if $(KEEP),--keep)
ifndef KEEP
	cargo build --release -p tollgate -p tollgate-connectors --bins
	cargo run --release -p tollgate-connectors --example demo
endif

bench: compiler
	cargo build --release -p tollgate -p tollgate-bench
	$(or $(CARGO_TARGET_DIR),target)/release/tollgate-bench $(ARGS)

# How fast connectors bring a backlog into a CRM.
drain: compiler
	cargo build --release -p tollgate -p tollgate-connectors -p tollgate-bench --bins
	$(or $(CARGO_TARGET_DIR),target)/release/tollgate-bench drain $(ARGS)

proto-lint: $(BUF)
	$(BUF) lint proto
	$(BUF) format proto --diff --exit-code

# Against the contract in AGAINST, a directory; .ci/run takes it from the main branch.
proto-breaking: $(BUF)
	$(BUF) breaking proto --against $(AGAINST)

# SQLite and the TLS library are compiled from C.
compiler:
	@command -v cc >/dev/null || .ci/install gcc libc6-dev

$(BUF):
	python3 -m venv target/tools || { .ci/install python3-venv && /usr/bin/python3 -m venv --clear target/tools; }
	target/tools/bin/pip install --quiet buf-bin==1.75.0
