//! Other programs that read Kodiak's files: Python packages in a virtual environment that `tests/interop/setup.sh` makes.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

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

    /// Starts a script of `tests/interop` that answers cases one by one; paths in them are within `dir`.
    pub fn session(&self, script: &str, dir: &Path) -> Session {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(script);
        let mut child = Command::new(&self.0)
            .arg(script)
            .arg(dir)
            // Errors go to the test's own output.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        Session {
            questions: child.stdin.take(),
            answers,
            child,
        }
    }
}

/// A script that answers cases.
#[derive(Debug)]
pub struct Session {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Session {
    /// Asks about a case, one line of JSON, and gives the answer, another line.
    ///
    /// # Errors
    /// What the script complains of, or that it has ended.
    pub fn ask(&mut self, case: &serde_json::Value) -> Result<serde_json::Value, String> {
        let asked = match &mut self.questions {
            Some(questions) => writeln!(questions, "{case}").and_then(|()| questions.flush()),
            None => return Err("the session is over".to_owned()),
        };
        let mut line = String::new();
        let read = asked.and_then(|()| self.answers.read_line(&mut line));
        if let Ok(1..) = read {
            let answer: serde_json::Value = serde_json::from_str(&line).map_err(|error| format!("{error}: {line}"))?;
            return match answer.get("error").and_then(serde_json::Value::as_str) {
                Some(error) => Err(error.to_owned()),
                None => Ok(answer),
            };
        }
        Err(format!("the script has ended: {:?}", self.child.wait()))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It ends when there are no more questions.
        drop(self.questions.take());
        let _ = self.answers.read_to_string(&mut String::new());
        let _ = self.child.wait();
    }
}
