# The lines of .ci/run, one by one. Any of them can be typed by hand without just.

# Everything that CI runs
ci:
    bash .ci/run

# Build the three programs and take the tour
demo:
    cargo build --release && target/release/bankctl demo

test:
    cargo test --workspace

lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

deny:
    cargo deny check

# Simulate whole clusters: `just sim 100000`
sim seeds="2000":
    cargo run --release -p raftbank-tests --bin sim -- --seeds {{seeds}}

# Cut the power (root)
powercut cuts="20":
    cargo run --release -p raftbank-tests --bin powercut -- --cuts {{cuts}}
    cargo run --release -p raftbank-tests --bin powercut -- --cuts {{cuts}} --without-sync

# Install on real systemd hosts and kill the services (root)
systemd:
    cargo build --release
    tests/systemd/run

bench:
    cargo run --release -p raftbank-tests --bin bench
