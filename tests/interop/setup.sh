#!/usr/bin/env bash
# Makes the Python virtual environment of the interoperability tests in target/interop-venv, or says why there is none.
#
# Does nothing if it is up to date. Always succeeds unless CI=true and installing Debian's python3-venv fails: machines without
# Python or without a network run all other tests, and the interoperability test prints that it was skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."

requirements=tests/interop/requirements.txt
venv="${CARGO_TARGET_DIR:-target}/interop-venv"
stamp="$venv/requirements.txt"

skip() {
    echo "interoperability: skipped: $*" >&2
    exit 0
}

make_venv() {
    python3 -m venv --clear "$venv" >/dev/null 2>&1
}

if cmp -s "$requirements" "$stamp" && "$venv/bin/python" -c 'import deltalake, duckdb, polars, pyarrow' 2>/dev/null; then
    exit 0
fi
rm -f "$stamp"
command -v python3 >/dev/null || skip "there is no python3"
mkdir -p "$(dirname "$venv")"
if ! make_venv; then
    # Debian keeps the module in a package of its own.
    if [[ "${CI:-}" != true ]] || ! command -v apt-get >/dev/null; then
        skip "python3 cannot make virtual environments (on Debian: apt-get install python3-venv)"
    fi
    echo "interoperability: installing python3-venv" >&2
    sudo=()
    [[ $EUID -eq 0 ]] || sudo=(sudo)
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv
    make_venv || skip "python3 cannot make virtual environments"
fi
if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --retries 1 --timeout 20 -r "$requirements"; then
    skip "the packages of $requirements cannot be installed (no network, or no build for this platform)"
fi
cp "$requirements" "$stamp"
