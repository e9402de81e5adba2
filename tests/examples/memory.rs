//! The resident memory of a load of ten times the memory budget, against what it may be.
//!
//! `cargo run --release -p kodiak-tests --example memory [BUDGET] [SETTING=VALUE...]`: the budget in MiB (64), or `default` for
//! the default settings; settings as in a file, `wal.kind="segment"` say. Tests do the same in small (`tests/tests/memory.rs`).
#![allow(clippy::print_stdout)]

use kodiak::{Error, ErrorKind, Result, Settings};
use kodiak_tests::memory::{BEYOND_BUDGET, load, settings};

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let budget = arguments.next().unwrap_or_else(|| "64".to_owned());
    let base = match budget.parse::<u64>() {
        Ok(budget) => settings(budget.max(20) << 20),
        Err(_) => Settings::default(),
    };
    let given: Vec<String> = arguments.collect();
    let text = given.iter().fold(base.to_toml(), |text, given| with(&text, given));
    let settings = Settings::from_toml(&text)?;
    let dir = tempfile::tempdir().map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
    let budget = settings.memory_budget();
    let Some(peak) = load(dir.path(), &settings, 10 * budget, 100)? else {
        println!("there is no /proc here to measure with");
        return Ok(());
    };
    println!(
        "{given:?} budget {} MiB, written {} MiB: resident at most {} MiB ({} allowed); anonymous {} MiB, mapped files {} MiB",
        mib(budget),
        mib(10 * budget),
        mib(peak.resident),
        mib(budget + BEYOND_BUDGET),
        mib(peak.anonymous),
        mib(peak.mapped)
    );
    Ok(())
}

/// Replaces one setting, `section.name=value`, in the text of all settings.
fn with(text: &str, given: &str) -> String {
    let (path, value) = given.split_once('=').unwrap_or((given, ""));
    let (section, name) = path.split_once('.').unwrap_or(("", path));
    let mut inside = false;
    let replace = |line: &str| {
        if line.starts_with('[') {
            inside = line == format!("[{section}]");
        }
        if inside && line.split(" = ").next() == Some(name) {
            format!("{name} = {value}\n")
        } else {
            format!("{line}\n")
        }
    };
    text.lines().map(replace).collect()
}
