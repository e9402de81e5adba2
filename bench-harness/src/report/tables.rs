//! The comparison as tables.

use std::fmt::Write;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::numbers::{count, factor, nanos, size};
use crate::comparison::Comparison;
use crate::measure::Measured;
use crate::run::Outcome;

/// How tables are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// With lines, for a terminal.
    Terminal,
    /// For a Markdown page.
    Markdown,
}

/// A cell: its text, and a figure by which it competes with the others of its column (smaller is better).
type Ranked = (String, Option<f64>);

pub(super) fn render(comparison: &Comparison, style: Style) -> String {
    let mut out = String::new();
    let plan = &comparison.plan;
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "{}; {} operations, seed {}.",
        comparison.data, plan.operations, plan.seed
    );
    let _ = writeln!(
        out,
        "All configurations gave the same answers. The best of each column is marked with *."
    );
    let names = || comparison.outcomes.iter().map(|outcome| outcome.configuration.clone());
    let workloads = comparison.outcomes.first().map_or(0, |first| first.workloads.len());
    for index in 0..workloads {
        let all: Vec<_> = comparison
            .outcomes
            .iter()
            .filter_map(|outcome| outcome.workloads.get(index))
            .collect();
        let writes = all.iter().any(|done| done.amplification.write.is_some());
        let title = format!("Workload {}", all[0].workload);
        let rows = names().zip(all.iter().map(|done| workload_row(done, writes))).collect();
        section(&mut out, style, &title, &workload_titles(all[0], writes), rows);
    }
    let rows = names().zip(comparison.outcomes.iter().map(resource_row)).collect();
    section(
        &mut out,
        style,
        "Space, memory and writes, over all workloads",
        &RESOURCES,
        rows,
    );
    let titles: Vec<_> = comparison.outcomes[0]
        .workloads
        .iter()
        .map(|done| done.workload.as_str())
        .collect();
    let rows = names().zip(comparison.outcomes.iter().map(throughput_row)).collect();
    section(
        &mut out,
        style,
        "Operations per second (scans of everything: entries per second)",
        &titles,
        rows,
    );
    out
}

fn workload_titles(done: &Measured, writes: bool) -> Vec<&'static str> {
    let mut titles = if done.operations == 1 {
        vec!["entries/s", "took"]
    } else {
        vec!["ops/s", "p50", "p90", "p99", "p99.9", "max"]
    };
    titles.extend(["runs/op", "blocks/op", "misses/op"]);
    if writes {
        titles.extend(["write amp.", "drained in", "stalled"]);
    }
    titles
}

fn workload_row(done: &Measured, writes: bool) -> Vec<Ranked> {
    let latency = done.latency;
    let time = |value: u64| (nanos(value), Some(value as f64));
    let seconds = |value: f64| (nanos((value * 1e9) as u64), Some(value));
    let figure = |value: f64| (factor(value), Some(value));
    let mut row = vec![(count(done.per_second()), Some(-done.per_second()))];
    if done.operations == 1 {
        row.push(time(latency.max));
    } else {
        row.extend([latency.p50, latency.p90, latency.p99, latency.p999, latency.max].map(time));
    }
    let read = &done.amplification;
    row.extend([read.runs, read.blocks, read.opened].map(figure));
    if writes {
        row.push(done.amplification.write.map_or(("-".to_owned(), None), figure));
        row.extend([seconds(done.drain_seconds), seconds(done.stalled_seconds)]);
    }
    row
}

const RESOURCES: [&str; 7] = [
    "live data",
    "runs",
    "space amp.",
    "directory",
    "write amp.",
    "memory, peak",
    "tables and cache",
];

fn resource_row(outcome: &Outcome) -> Vec<Ranked> {
    let resources = &outcome.resources;
    let bytes = |value: u64| (size(value), Some(value as f64));
    let missing = || ("-".to_owned(), None);
    let space = resources.space_amplification;
    vec![
        (size(resources.live_bytes), None),
        bytes(resources.run_bytes),
        (factor(space), Some(space)),
        bytes(resources.directory_bytes),
        outcome
            .write_amplification()
            .map_or_else(missing, |value| (factor(value), Some(value))),
        resources.peak_memory_bytes.map_or_else(missing, bytes),
        bytes(resources.engine_memory_bytes),
    ]
}

fn throughput_row(outcome: &Outcome) -> Vec<Ranked> {
    outcome
        .workloads
        .iter()
        .map(|done| (count(done.per_second()), Some(-done.per_second())))
        .collect()
}

/// One table under a heading; the best cells of each column are marked, unless most of them are.
fn section(out: &mut String, style: Style, heading: &str, titles: &[&str], rows: Vec<(String, Vec<Ranked>)>) {
    let mut table = Table::new();
    table.load_style(match style {
        Style::Terminal => presets::UTF8_FULL_CONDENSED,
        Style::Markdown => presets::ASCII_MARKDOWN,
    });
    // Lines are not broken: a terminal or pager that is too narrow does that itself.
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(std::iter::once("configuration").chain(titles.iter().copied()));
    let ranks = |column: usize| rows.iter().filter_map(move |(_, cells)| cells.get(column)?.1);
    let best: Vec<Option<f64>> = (0..titles.len())
        .map(|column| {
            let least = ranks(column).fold(f64::INFINITY, f64::min);
            let best = ranks(column).filter(|rank| *rank == least).count();
            (2 * best <= ranks(column).count()).then_some(least)
        })
        .collect();
    for (name, cells) in &rows {
        let marked = cells.iter().zip(&best).map(|((text, rank), best)| {
            let mark = if rank.is_some() && rank == best { "*" } else { "" };
            format!("{text}{mark}")
        });
        table.add_row(std::iter::once(name.clone()).chain(marked));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let heading = match style {
        Style::Terminal => heading.to_owned(),
        Style::Markdown => format!("## {heading}\n"),
    };
    let _ = writeln!(out, "\n{heading}\n{table}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::Configuration;
    use crate::data::DataSpec;
    use crate::plan::Plan;
    use crate::run::{Quiet, run_configuration};

    fn comparison() -> Comparison {
        let workloads = vec!["read".to_owned(), "scan".to_owned(), "overwrite".to_owned()];
        let plan = Plan {
            workloads,
            ..Plan::new(DataSpec::parse("kv:300", &[]).expect("valid"), 200)
        };
        let run = |name: &str| {
            let configuration = Configuration::parse(name, None).expect("valid");
            run_configuration(&plan, &configuration, None, &mut Quiet).expect("it runs")
        };
        let mut outcomes = vec![run("default"), run("row")];
        outcomes[0].workloads[2].seconds = 2.0 * outcomes[1].workloads[2].seconds;
        Comparison::new("some data", plan.clone(), outcomes).expect("they agree")
    }

    #[test]
    fn every_workload_has_its_table_and_the_best_are_marked() {
        let comparison = comparison();
        for style in [Style::Terminal, Style::Markdown] {
            let text = render(&comparison, style);
            for heading in [
                "Workload load",
                "Workload read",
                "Workload scan",
                "Workload overwrite",
                "some data; 200",
            ] {
                assert!(text.contains(heading), "{heading} is missing in\n{text}");
            }
            for title in ["p99.9", "entries/s", "write amp.", "space amp.", "memory, peak"] {
                assert!(text.contains(title), "{title} is missing in\n{text}");
            }
            let summary = text.rsplit("Operations per second").next().expect("the last table");
            let row = |name: &str| {
                let line = summary
                    .lines()
                    .find(|line| line.contains(name))
                    .expect("a row")
                    .to_owned();
                line.split(['|', '│', '┆'])
                    .nth(4)
                    .expect("the column of scan")
                    .trim()
                    .to_owned()
            };
            let (default, row) = (row("default"), row("row"));
            assert!(
                !default.ends_with('*') && row.ends_with('*'),
                "{default} against {row} in\n{text}"
            );
        }
    }

    #[test]
    fn markdown_tables_have_no_other_lines() {
        let text = render(&comparison(), Style::Markdown);
        assert!(text.is_ascii(), "{text}");
        assert!(
            text.lines()
                .filter(|line| line.starts_with("|--") || line.starts_with("|-"))
                .count()
                >= 6,
            "{text}"
        );
    }
}
