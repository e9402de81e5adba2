//! Other programs that read Kodiak's files: Python packages in a virtual environment that `tests/interop/setup.sh` makes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Python with the packages.
#[derive(Debug)]
pub struct Python(PathBuf);

impl Python {
    /// It, if it is there whole; `tmpdir` is the test's `CARGO_TARGET_TMPDIR`. Else it is told that `what` is skipped.
    pub fn find(tmpdir: &str, what: &str) -> Option<Self> {
        let venv = Path::new(tmpdir).parent()?.join("interop-venv");
        // The last thing that the set-up does is to copy this file; an old one lacks packages.
        let made_for = std::fs::read_to_string(venv.join("requirements.txt")).unwrap_or_default();
        if made_for.contains("deltalake") {
            return Some(Self(venv.join("bin/python")));
        }
        // Not through `eprintln!`, whose output a passing test does not show.
        let skipped = format!("{what}: skipped: no target/interop-venv (tests/interop/setup.sh makes it)");
        writeln!(std::io::stderr(), "{skipped}").expect("standard error is there");
        None
    }

    /// Has a script of `tests/interop` read the `cases` whose files are in `dir`, and find them right.
    ///
    /// # Panics
    /// If it finds them wrong, or compares another number than told.
    pub fn compare(&self, script: &str, dir: &Path, cases: Vec<serde_json::Value>, comparisons: usize) {
        let cases = serde_json::Value::from(cases).to_string();
        std::fs::write(dir.join("cases.json"), cases).expect("a small file");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(script);
        let output = Command::new(&self.0)
            .arg(script)
            .arg(dir)
            .output()
            .expect("Python starts");
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}\n{errors}");
        let last = said.lines().last().expect("it prints a summary");
        let summary: serde_json::Value = serde_json::from_str(last).expect("the summary is JSON");
        assert_eq!(summary["compared"], comparisons, "{said}");
    }
}
