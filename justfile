# Shortcuts; `just` alone lists them. Everything here is a plain command that works without just as well.

default:
    @just --list

# Every test.
test *arguments:
    bash ./test.sh {{ arguments }}

# What must hold before a change is merged.
gate:
    bash .ci/run

# Every test, as far as a change of the engine, the log or the formats should be put to the proof.
proof:
    KODIAK_PROOF=gate bash ./test.sh

# The main job: the same work with several configurations, side by side.
compare *arguments:
    cargo run --release -p kodiak-cli -- compare {{ arguments }}

# The benches of all crates, or of one: `just bench -p kodiak-memtables`.
bench *arguments:
    cargo bench {{ if arguments == "" { "--workspace" } else { arguments } }}

# The parts of docs/ that are generated from the registries and the list of settings.
docs:
    KODIAK_UPDATE_DOCS=1 cargo test -p kodiak --lib documentation

fmt:
    cargo fmt --all

lint:
    cargo clippy --workspace --all-targets -- -D warnings

# Licences and advisories of dependencies; needs cargo-deny.
deny:
    cargo deny check
