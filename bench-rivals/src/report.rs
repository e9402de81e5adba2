//! The table and the JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::driver::Options;
use crate::engines::Entry;
use crate::rows::Row;

/// What a run came to.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its numbers, by name.
    Measured(BTreeMap<String, f64>),
    /// Why there are none.
    Failed(String),
    /// The row makes no sense for the engine.
    NotApplicable,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Measured(measures) => {
                let shown: Vec<_> = measures
                    .iter()
                    .map(|(name, value)| format!("{name} {}", number(*value)))
                    .collect();
                f.write_str(&shown.join(", "))
            }
            Self::Failed(why) => write!(f, "failed: {why}"),
            Self::NotApplicable => f.write_str("-"),
        }
    }
}

/// One run.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// The engine's name.
    pub engine: &'static str,
    /// The case's name.
    pub case: &'static str,
    /// What it came to.
    pub outcome: Outcome,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    keys: u64,
    value_len: u64,
    repetitions: u32,
    cores: usize,
    engines: Vec<Column>,
    rows: Vec<Line>,
    runs: Vec<Run>,
}

#[derive(Debug, Serialize)]
struct Column {
    name: &'static str,
    title: &'static str,
    settings: &'static str,
}

#[derive(Debug, Serialize)]
struct Line {
    name: &'static str,
    title: &'static str,
    state: &'static str,
    lower_wins: bool,
    #[serde(skip)]
    parts: &'static [(&'static str, &'static str)],
    /// For each engine the medians of its parts.
    medians: Vec<Vec<Option<f64>>>,
    /// For each part the winner: the index of an engine.
    winners: Vec<Option<usize>>,
}

impl Report {
    /// An empty one.
    pub fn new(options: &Options, engines: &[&Entry], rows: &[&Row]) -> Self {
        let column = |entry: &&Entry| Column {
            name: entry.name,
            title: entry.title,
            settings: entry.settings,
        };
        let line = |row: &&Row| Line {
            name: row.name,
            title: row.title,
            state: row.state,
            lower_wins: row.lower_wins,
            parts: row.parts,
            medians: Vec::new(),
            winners: Vec::new(),
        };
        Self {
            keys: options.keys,
            value_len: options.value,
            repetitions: options.repetitions,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            engines: engines.iter().map(column).collect(),
            rows: rows.iter().map(line).collect(),
            runs: Vec::new(),
        }
    }

    /// Adds a run.
    pub fn add(&mut self, run: Run) {
        self.runs.push(run);
    }

    /// How many runs failed.
    pub fn failures(&self) -> usize {
        self.runs
            .iter()
            .filter(|run| matches!(run.outcome, Outcome::Failed(_)))
            .count()
    }

    /// Computes medians and winners.
    pub fn finish(&mut self) {
        for line in &mut self.rows {
            let of_engine = |column: &Column| -> Vec<Option<f64>> {
                line.parts
                    .iter()
                    .map(|(case, measure)| median(&self.runs, column.name, case, measure))
                    .collect()
            };
            line.medians = self.engines.iter().map(of_engine).collect();
            line.winners = (0..line.parts.len())
                .map(|part| winner(&line.medians, part, line.lower_wins))
                .collect();
        }
    }
}

fn median(runs: &[Run], engine: &str, case: &str, measure: &str) -> Option<f64> {
    let mut values: Vec<f64> = Vec::new();
    for run in runs.iter().filter(|run| run.engine == engine && run.case == case) {
        match &run.outcome {
            Outcome::Measured(measures) => values.extend(measures.get(measure)),
            // One failure spoils all: what an engine does now and then wrong has no speed.
            Outcome::Failed(_) => return None,
            Outcome::NotApplicable => {}
        }
    }
    values.sort_by(f64::total_cmp);
    let middle = values.len().checked_sub(1)? / 2;
    Some((values[middle] + values[values.len() / 2]) / 2.0)
}

fn winner(medians: &[Vec<Option<f64>>], part: usize, lower_wins: bool) -> Option<usize> {
    let values = medians
        .iter()
        .enumerate()
        .filter_map(|(engine, parts)| Some((engine, parts[part]?)));
    let best = |a: &(usize, f64), b: &(usize, f64)| a.1.total_cmp(&b.1);
    if lower_wins {
        values.min_by(best)
    } else {
        values.max_by(best)
    }
    .map(|(engine, _)| engine)
}

/// A number as the table shows it.
fn number(value: f64) -> String {
    match value {
        1e7.. => format!("{:.1}M", value / 1e6),
        1e6.. => format!("{:.2}M", value / 1e6),
        1e4.. => format!("{:.0}k", value / 1e3),
        1e3.. => format!("{:.1}k", value / 1e3),
        100.0.. => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} keys of 16 bytes, values of {} bytes, medians of {}, {} cores; operations/s unless said, the best in bold\n",
            self.keys, self.value_len, self.repetitions, self.cores
        )?;
        let titles: Vec<_> = self.engines.iter().map(|column| column.title).collect();
        writeln!(f, "| | {} |", titles.join(" | "))?;
        writeln!(f, "|---|{}", "---|".repeat(titles.len()))?;
        for line in &self.rows {
            write!(f, "| {} |", line.title)?;
            for (engine, medians) in line.medians.iter().enumerate() {
                let cells = medians.iter().zip(&line.winners).map(|(value, winner)| match value {
                    Some(value) if *winner == Some(engine) => format!("**{}**", number(*value)),
                    Some(value) => number(*value),
                    None => "-".to_owned(),
                });
                write!(f, " {} |", cells.collect::<Vec<_>>().join(" / "))?;
            }
            writeln!(f)?;
        }
        writeln!(f, "\nState of the store while the clock runs:\n")?;
        for line in &self.rows {
            writeln!(f, "- {}: {}", line.title, line.state)?;
        }
        let failed = self.runs.iter().filter(|run| matches!(run.outcome, Outcome::Failed(_)));
        for run in failed {
            writeln!(f, "\n{} in {}: {}", run.engine, run.case, run.outcome)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(engine: &'static str, value: f64) -> Run {
        let outcome = Outcome::Measured(BTreeMap::from([("ops".to_owned(), value)]));
        Run {
            engine,
            case: "c",
            outcome,
        }
    }

    #[test]
    fn the_median_is_taken_per_engine_and_a_failure_voids_it() {
        let mut runs = vec![run("a", 3.0), run("b", 100.0), run("a", 1.0), run("a", 2.0)];
        assert_eq!(median(&runs, "a", "c", "ops"), Some(2.0));
        runs.push(run("a", 4.0));
        assert_eq!(median(&runs, "a", "c", "ops"), Some(2.5));
        assert_eq!(median(&runs, "a", "c", "other"), None);
        runs.push(Run {
            engine: "a",
            case: "c",
            outcome: Outcome::Failed("so".to_owned()),
        });
        assert_eq!(median(&runs, "a", "c", "ops"), None);
        assert_eq!(median(&runs, "b", "c", "ops"), Some(100.0));
    }

    #[test]
    fn the_best_wins_whatever_best_means() {
        let medians = vec![vec![Some(2.0)], vec![None], vec![Some(3.0)]];
        assert_eq!(winner(&medians, 0, false), Some(2));
        assert_eq!(winner(&medians, 0, true), Some(0));
        assert_eq!(winner(&[vec![None]], 0, true), None);
    }

    #[test]
    fn numbers_are_short() {
        let shown = [12_200_000.0, 1_530_000.0, 499_123.0, 8_123.0, 512.3, 0.6].map(number);
        assert_eq!(shown, ["12.2M", "1.53M", "499k", "8.1k", "512", "0.60"]);
    }
}
