//! Runs the built program.

use std::path::PathBuf;
use std::process::{Command, Output};

/// A directory for databases and files, and the program.
pub struct Kodiak {
    dir: tempfile::TempDir,
}

impl Kodiak {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a directory"),
        }
    }

    /// A path in the directory, which is also the working directory of the program.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file in the directory.
    #[allow(dead_code, reason = "not every test file needs one")]
    pub fn file(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).expect("written");
        name.to_owned()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kodiak"));
        command.args(arguments).current_dir(self.dir.path());
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("started")
    }

    /// What it prints; it must succeed and say nothing on standard error.
    pub fn prints(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kodiak {arguments:?}: {errors}");
        assert_eq!(errors, "", "kodiak {arguments:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// What it says when it fails at its work: one line, exit code 1.
    #[allow(dead_code, reason = "not every test file needs one")]
    pub fn refuses(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "kodiak {arguments:?}: {errors}");
        assert_eq!(errors.lines().count(), 1, "kodiak {arguments:?}: {errors}");
        assert!(errors.starts_with("kodiak: "), "kodiak {arguments:?}: {errors}");
        errors
    }

    /// What it says when it does not understand its arguments: exit code 2.
    #[allow(dead_code, reason = "not every test file needs one")]
    pub fn misunderstands(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "kodiak {arguments:?}: {errors}");
        errors
    }
}
