# The lines of .ci/run, one by one. Any of them can be typed by hand without just.

# Everything that CI runs
ci:
    bash .ci/run

# Build the three programs and take the tour
demo:
    cargo build --release && target/release/bankctl demo

test:
    cargo test --workspace

# The verifier in Python: known answers, and every published vector
verifier:
    python3 -m unittest discover -s tests/verifier

lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

deny:
    cargo deny check

# Simulate whole banks: `just sim 100000`
sim seeds="2000":
    cargo run --release -p raftbank-tests --bin sim -- --seeds {{seeds}}

# Plant bugs and see whether they are caught: `just mutants --bounded`
mutants *arguments:
    cargo run --release -p raftbank-tests --bin mutants -- {{arguments}}

# Real clusters and every fault there is (root for the disks' faults)
torture minutes="5":
    cargo run --release -p raftbank-tests --bin torture -- --minutes {{minutes}}

# Damage a stopped node's files
damage count="10000":
    cargo run --release -p raftbank-tests --bin damage -- --count {{count}}

# Fuzz every decoder (cargo-fuzz and a nightly toolchain)
fuzz seconds="60":
    tests/fuzz/run --seconds {{seconds}}

# Cut the power (root)
powercut cuts="20":
    cargo run --release -p raftbank-tests --bin powercut -- --cuts {{cuts}}
    cargo run --release -p raftbank-tests --bin powercut -- --cuts {{cuts}} --without-sync

# The Debian package
deb:
    packaging/build-deb

# Install the package on real systemd hosts; kill, hang, fill, cut, upgrade (root)
systemd *arguments:
    tests/systemd/run {{arguments}}

# What a transfer costs in hashes, allocations, syncs, bytes, frames and instructions, against the record (valgrind)
counts:
    tests/counts/run

# Record these counts anew
counts-record:
    tests/counts/run --record

# Banks of growing size, their figures and plots: an hour
growth:
    tests/growth/run

# In rounds, beside etcd and PostgreSQL where they are installed: `just bench --runs 5 --seconds 5`
bench *arguments:
    tests/bench/run {{arguments}}

# Measure a running bank: `just measure --mode read` (sockets by --socket)
measure *arguments:
    cargo run --release -p bankctl -- bench {{arguments}}

# What trees, proofs and signatures cost
bench-proofs:
    cargo run --release -p raftbank-tests --bin bench_proofs

# Write the published test vectors anew
vectors:
    cargo run -p raftbank-tests --bin vectors
