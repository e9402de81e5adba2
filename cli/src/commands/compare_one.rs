use std::io::{BufRead, Write};
use std::path::PathBuf;

use clap::Args;
use kodiak::{Error, Settings};
use kodiak_bench_harness::{Configuration, Plan, Workspace, run_configuration};
use serde::{Deserialize, Serialize};

use crate::failure::Result;
use crate::output::Output;
use crate::progress::WorkloadBar;

/// `kodiak compare-one`: takes a [`Request`] from standard input and prints the outcome, both as JSON in one line. Ends, and removes
/// its databases, when standard input does: then whoever started it is gone.
#[derive(Debug, Args)]
pub struct CompareOne {}

/// What to run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    pub plan: Plan,
    pub configuration: String,
    /// TOML text.
    pub settings: String,
    pub dir: Option<PathBuf>,
}

impl CompareOne {
    pub fn run(self, out: &mut Output) -> Result {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        let request: Request = serde_json::from_str(&line)
            .map_err(|error| Error::invalid_input("standard input holds no request").with_source(error))?;
        let settings = Settings::from_toml(&request.settings)?;
        let configuration = Configuration::new(request.configuration, settings);
        let workspace = Workspace::new(request.dir.as_deref())?;
        let path = workspace.path().to_owned();
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            Workspace::remove_in_use(&path);
            std::process::exit(1);
        });
        let mut bar = WorkloadBar::new(&configuration.name);
        let outcome = run_configuration(&request.plan, &configuration, Some(workspace.path()), &mut bar)?;
        drop(bar);
        serde_json::to_writer(&mut *out, &outcome).map_err(std::io::Error::from)?;
        Ok(out.flush()?)
    }
}
