#!/usr/bin/env bash
# Runs every test. Needs a Rust toolchain, a C compiler and the crate registry; Python 3 is used if it is there.
set -euo pipefail
cd "$(dirname "$0")"

bash tests/interop/setup.sh
cargo test --workspace --no-fail-fast "$@"
