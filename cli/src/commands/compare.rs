use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Args;
use kodiak::components::Components;
use kodiak::{Error, ErrorKind, Settings};
use kodiak_bench_harness::data::{DataSpec, estimated_bytes};
use kodiak_bench_harness::report::{self, Style};
use kodiak_bench_harness::{Comparison, Configuration, Outcome, Plan, workloads};

use super::compare_one::Request;
use crate::failure::{Failure, Result};
use crate::import::check_plain;
use crate::output::Output;

/// `kodiak compare`
#[derive(Debug, Args)]
pub struct Compare {
    /// What to load: flights[:ROWS], kv[:ENTRIES], kv-sequential[:ENTRIES] (generated), or a CSV file with a header
    #[arg(long, value_name = "DATA", default_value = "flights")]
    data: String,
    /// The columns of the CSV file that make up the key [default: the row number]
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    key: Vec<String>,
    /// Configurations: presets, components and section.key=value, joined by + [default: the defaults, then every other
    /// format, memtable and compaction policy]
    #[arg(long, value_name = "SPEC,...", value_delimiter = ',')]
    configs: Vec<String>,
    /// A configuration from a settings file, taken as it is (repeat for more)
    #[arg(long = "config", value_name = "NAME=FILE", value_parser = named_file)]
    files: Vec<(String, PathBuf)>,
    /// Workloads, in order, after the load [default: all]
    #[arg(long = "workload", value_name = "NAME,...", value_delimiter = ',')]
    workloads: Vec<String>,
    /// Operations of a workload; those that read many entries at once do a fraction of it
    #[arg(long = "ops", value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..))]
    operations: u64,
    /// Chooses other keys and operations
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Keep memtables, runs and log segments as large as the settings say, even if the data does not fill one
    #[arg(long)]
    unscaled: bool,
    /// Where databases are made, and removed afterwards [default: the directory for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print everything that was measured as JSON
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print Markdown tables
    #[arg(long)]
    markdown: bool,
}

fn named_file(text: &str) -> std::result::Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok((name.to_owned(), file.into())),
        _ => Err("write NAME=FILE, such as mine=kodiak.toml".to_owned()),
    }
}

impl Compare {
    pub fn run(self, out: &mut Output) -> Result {
        let spec = DataSpec::parse(&self.data, &self.key)?;
        if let DataSpec::Csv { path, .. } = &spec {
            check_plain(path)?;
        }
        let mut plan = Plan {
            seed: self.seed,
            ..Plan::new(spec, self.operations)
        };
        if !self.workloads.is_empty() {
            plan.workloads.clone_from(&self.workloads);
        }
        // Every mistake in the arguments is found before anything is run.
        plan.resolve()?;
        let (described, bytes) = {
            let data = plan.data.open()?;
            (data.describe(), estimated_bytes(&*data))
        };
        let configurations = self.configurations(bytes)?;
        let mib = bytes as f64 / f64::from(1 << 20);
        let scaled = if self.unscaled {
            ""
        } else {
            "; memtables, runs and log segments are scaled to it"
        };
        let described = format!("{described} ({mib:.1} MiB{scaled})");
        let outcomes = configurations
            .into_iter()
            .map(|configuration| self.measure(&plan, configuration))
            .collect::<Result<Vec<_>>>()?;
        let comparison = Comparison::new(described, plan, outcomes)?;
        if self.json {
            writeln!(out, "{}", report::json(&comparison)?)?;
        } else {
            let style = if self.markdown {
                Style::Markdown
            } else {
                Style::Terminal
            };
            write!(out, "{}", report::tables(&comparison, style))?;
        }
        Ok(())
    }

    fn configurations(&self, bytes: u64) -> Result<Vec<Configuration>> {
        let scale = (!self.unscaled).then_some(bytes);
        let specs = match self.configs.as_slice() {
            [] if self.files.is_empty() => Configuration::standard(),
            specs => specs.to_vec(),
        };
        let mut all = specs
            .iter()
            .map(|spec| Configuration::parse(spec, scale))
            .collect::<kodiak::Result<Vec<_>>>()?;
        for (name, file) in &self.files {
            all.push(Configuration::new(name, Settings::from_file(file)?));
        }
        for (index, configuration) in all.iter().enumerate() {
            if all[..index].iter().any(|earlier| earlier.name == configuration.name) {
                let message = format!("two configurations are called {}", configuration.name);
                return Err(Error::invalid_input(message).into());
            }
            Components::new().resolve(&configuration.settings)?;
        }
        Ok(all)
    }

    /// Runs a configuration in a process of its own: memory that one leaves to the allocator is not another's.
    fn measure(&self, plan: &Plan, configuration: Configuration) -> Result<Outcome> {
        let failed = |what: &str, source: std::io::Error| {
            Error::new(
                ErrorKind::Io,
                format!("configuration {}: cannot {what}", configuration.name),
            )
            .with_source(source)
        };
        let request = Request {
            plan: plan.clone(),
            configuration: configuration.name.clone(),
            settings: configuration.settings.to_toml(),
            dir: self.dir.clone(),
        };
        let program = std::env::current_exe().map_err(|source| failed("find this program", source))?;
        let mut command = Command::new(program);
        command.arg("compare-one").stdin(Stdio::piped()).stdout(Stdio::piped());
        // An interruption from the terminal ends this process alone, and the other one when it finds that out: so it can clean up.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command
            .spawn()
            .map_err(|source| failed("start this program again", source))?;
        // Open until the other process has ended.
        let mut stdin = child.stdin.take();
        let sent = stdin.as_mut().map(|stdin| -> std::io::Result<()> {
            serde_json::to_writer(&mut *stdin, &request)?;
            writeln!(stdin)
        });
        let output = child
            .wait_with_output()
            .map_err(|source| failed("wait for it", source))?;
        if !output.status.success() {
            // It has said why, unless it was killed.
            return Err(match output.status.code() {
                Some(_) => Failure::Reported,
                None => Error::new(
                    ErrorKind::Io,
                    format!("configuration {}: {}", configuration.name, output.status),
                )
                .into(),
            });
        }
        if let Some(Err(error)) = sent {
            return Err(failed("pass the plan on", error).into());
        }
        drop(stdin);
        serde_json::from_slice(&output.stdout).map_err(|error| failed("read the outcome", error.into()).into())
    }
}

/// The workloads with what each does, for `--help`.
pub fn workloads_help() -> String {
    let line = |workload: &workloads::Workload| format!("  {:13} {}", workload.name, workload.summary);
    let lines: Vec<_> = workloads::ALL.iter().map(line).collect();
    format!("Workloads:\n{}", lines.join("\n"))
}
