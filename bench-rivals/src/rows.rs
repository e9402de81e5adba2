//! The rows of the table, and the cases that they are made of.

use crate::cases::Kind;
use crate::engine::Result;

/// The store that a case begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// An empty directory.
    Empty,
    /// The loaded one itself: the case only reads.
    Loaded,
    /// A copy of the loaded one.
    Copy,
    /// The loaded one with values of 1 KiB.
    Kib,
    /// A copy of the one whose log was not flushed.
    Log,
}

/// Work for one child process.
#[derive(Debug)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// What the child does.
    pub kind: Kind,
    /// What it begins with.
    pub store: Store,
    /// A quarter of the keys, with values of 1 KiB.
    pub kib: bool,
    /// The cache holds 1/8 of the data instead of twice the data.
    pub small_cache: bool,
}

impl Case {
    const fn new(name: &'static str, kind: Kind, store: Store) -> Self {
        Self {
            name,
            kind,
            store,
            kib: false,
            small_cache: false,
        }
    }

    const fn kib(name: &'static str, kind: Kind, store: Store) -> Self {
        Self {
            kib: true,
            ..Self::new(name, kind, store)
        }
    }

    const fn small_cache(name: &'static str, kind: Kind) -> Self {
        Self {
            small_cache: true,
            ..Self::new(name, kind, Store::Loaded)
        }
    }
}

/// Every case.
pub const CASES: &[Case] = &[
    Case::new("sequential-fill", Kind::SequentialFill, Store::Empty),
    Case::new("random-fill", Kind::RandomFill, Store::Empty),
    Case::new("batch-fill", Kind::BatchFill, Store::Empty),
    Case::new("overwrite", Kind::Overwrite, Store::Copy),
    Case::new("fsync", Kind::SyncedFill, Store::Empty),
    Case::new("read-hit", Kind::ReadHit, Store::Loaded),
    Case::new("read-miss", Kind::ReadMiss, Store::Loaded),
    Case::new("seek-10", Kind::Seek(10), Store::Loaded),
    Case::new("seek-100", Kind::Seek(100), Store::Loaded),
    Case::new("scan", Kind::Scan, Store::Loaded),
    Case::new("read-while-writing", Kind::ReadWhileWriting, Store::Copy),
    Case::new("delete", Kind::Delete, Store::Copy),
    Case::new("ycsb-a", Kind::Ycsb('a'), Store::Copy),
    Case::new("ycsb-b", Kind::Ycsb('b'), Store::Copy),
    Case::new("ycsb-c", Kind::Ycsb('c'), Store::Loaded),
    Case::new("ycsb-d", Kind::Ycsb('d'), Store::Copy),
    Case::new("ycsb-e", Kind::Ycsb('e'), Store::Copy),
    Case::new("ycsb-f", Kind::Ycsb('f'), Store::Copy),
    Case::kib("kib-fill", Kind::RandomFill, Store::Empty),
    Case::kib("kib-read", Kind::ReadHit, Store::Kib),
    Case::small_cache("small-cache-read", Kind::ReadHit),
    Case::small_cache("small-cache-seek", Kind::Seek(10)),
    Case::new("parallel-fill", Kind::ParallelFill, Store::Empty),
    Case::new("parallel-read", Kind::ParallelRead, Store::Loaded),
    Case::new("recovery", Kind::Recovery, Store::Log),
];

/// A row of the table.
#[derive(Debug)]
pub struct Row {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its title.
    pub title: &'static str,
    /// The case and measure of each of its numbers.
    pub parts: &'static [(&'static str, &'static str)],
    /// The smallest number wins.
    pub lower_wins: bool,
    /// The state of the store when the clock runs.
    pub state: &'static str,
}

const DRAINED: &str = "drained, reopened, warm";
const COPY: &str = "begins drained, reopened, warm; not drained during the run";
const FILL: &str = "from empty to the last acknowledgement, not drained";

const fn row(
    name: &'static str,
    title: &'static str,
    parts: &'static [(&'static str, &'static str)],
    state: &'static str,
) -> Row {
    Row {
        name,
        title,
        parts,
        lower_wins: false,
        state,
    }
}

/// Every row, in the order of the table.
pub const ROWS: &[Row] = &[
    row(
        "sequential-fill",
        "sequential fill",
        &[("sequential-fill", "ops")],
        FILL,
    ),
    row(
        "random-fill",
        "random fill / batches of 100",
        &[("random-fill", "ops"), ("batch-fill", "ops")],
        FILL,
    ),
    row(
        "overwrite",
        "overwrite",
        &[("overwrite", "ops")],
        "begins drained, reopened, cold; not drained during the run",
    ),
    row("fsync", "fsync per write", &[("fsync", "ops")], FILL),
    row("read-hit", "random read, hit", &[("read-hit", "ops")], DRAINED),
    row("read-miss", "random read, missing", &[("read-miss", "ops")], DRAINED),
    row(
        "seek",
        "seek + 10 / + 100 entries",
        &[("seek-10", "ops"), ("seek-100", "ops")],
        DRAINED,
    ),
    row(
        "scan",
        "full scan, cold / warm (entries/s)",
        &[("scan", "cold"), ("scan", "warm")],
        "drained, reopened; cold: the engine's caches are empty, the system's is not",
    ),
    row(
        "read-while-writing",
        "reads while writing (20k/s)",
        &[("read-while-writing", "ops")],
        COPY,
    ),
    row(
        "delete",
        "delete 90 % / scan the survivors",
        &[("delete", "ops"), ("delete", "survivors")],
        "begins drained, reopened, cold; the scan follows the deletes at once",
    ),
    row(
        "ycsb-abc",
        "YCSB A / B / C",
        &[("ycsb-a", "ops"), ("ycsb-b", "ops"), ("ycsb-c", "ops")],
        COPY,
    ),
    row(
        "ycsb-def",
        "YCSB D / E / F",
        &[("ycsb-d", "ops"), ("ycsb-e", "ops"), ("ycsb-f", "ops")],
        COPY,
    ),
    row(
        "kib",
        "values of 1 KiB, a quarter of the keys: random fill / read",
        &[("kib-fill", "ops"), ("kib-read", "ops")],
        "fill: from empty, not drained; read: drained, reopened, warm",
    ),
    row(
        "small-cache",
        "cache 1/8 of the data: random read / seek + 10",
        &[("small-cache-read", "ops"), ("small-cache-seek", "ops")],
        DRAINED,
    ),
    row(
        "two-threads",
        "two threads: random fill / read",
        &[("parallel-fill", "ops"), ("parallel-read", "ops")],
        "fill: from empty, not drained; read: drained, reopened, warm",
    ),
    row(
        "recovery",
        "recovery of the log (entries/s)",
        &[("recovery", "ops")],
        "nothing flushed, the process ended without closing; open and first read",
    ),
    Row {
        lower_wins: true,
        ..row(
            "write-amplification",
            "bytes written / user bytes, overwrite",
            &[("overwrite", "written_per_user_byte")],
            "after the overwrites, drained and closed",
        )
    },
    Row {
        lower_wins: true,
        ..row(
            "space",
            "bytes on disk / live bytes, overwrite",
            &[("overwrite", "disk_per_live_byte")],
            "after the overwrites, drained and closed",
        )
    },
];

/// The rows of the names, in the order of the table; all for no names.
///
/// # Errors
/// An unknown name, listing the known ones.
pub fn select(names: &[String]) -> Result<Vec<&'static Row>> {
    if let Some(unknown) = names.iter().find(|name| !ROWS.iter().any(|row| row.name == **name)) {
        let known: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        return Err(format!("there is no row \"{unknown}\"; the rows are: {}", known.join(", ")).into());
    }
    Ok(ROWS
        .iter()
        .filter(|row| names.is_empty() || names.iter().any(|name| name == row.name))
        .collect())
}

/// The cases that rows need, in their order.
pub fn cases_of(rows: &[&Row]) -> Vec<&'static Case> {
    let needed = |case: &&Case| {
        rows.iter()
            .any(|row| row.parts.iter().any(|(name, _)| *name == case.name))
    };
    CASES.iter().filter(needed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_row_names_a_case_and_every_case_has_a_row() {
        for (name, _) in ROWS.iter().flat_map(|row| row.parts) {
            assert!(CASES.iter().any(|case| case.name == *name), "{name}");
        }
        assert_eq!(cases_of(&select(&[]).expect("all")).len(), CASES.len());
    }

    #[test]
    fn an_unknown_row_is_refused_with_the_known_ones() {
        let error = select(&["fil".to_owned()]).expect_err("unknown").to_string();
        assert!(error.contains("\"fil\"") && error.contains("random-fill"), "{error}");
    }
}
