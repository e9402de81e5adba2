//! Open files and mappings, whatever fails: a process of its own, which therefore has one test only.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kodiak::{Builder, ErrorKind, Result, TableSchema};
use kodiak_core::conformance::extent;
use kodiak_tests::factors::small;
use kodiak_tests::failing::FailingStorage;

/// Files below `dir` that this process has open, and that it has mapped. Nothing where there is no `/proc`.
fn held(dir: &Path) -> Option<Vec<String>> {
    let files = std::fs::read_dir("/proc/self/fd").ok()?;
    let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    let open = targets.filter(|target: &PathBuf| target.starts_with(dir));
    let mut held: Vec<String> = open.map(|target| target.display().to_string()).collect();
    let name = dir.to_str().expect("a plain name");
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    held.extend(maps.lines().filter(|line| line.contains(name)).map(str::to_owned));
    Some(held)
}

/// A bit of everything that opens files.
fn use_a_database(storage: &Arc<FailingStorage>, dir: &Path, wal: &str) -> Result<()> {
    for round in 0..2u8 {
        let mut settings = small();
        settings.wal.kind = wal.to_owned();
        let db = Builder::new(settings).storage(storage.clone()).open(dir.join("db"))?;
        let table = db.table_or_create("t", TableSchema::key_value())?;
        let other = db.table_or_create("other", TableSchema::key_value())?;
        for key in 0..30u8 {
            table.put([key], [round; 5000])?;
            other.put([key], [round; 50])?;
        }
        db.flush()?;
        db.compact()?;
        table.get([3])?;
        db.checkpoint(dir.join(format!("checkpoint-{round}")))?;
        db.backup(dir.join("backups"))?;
        table.ingest((0..30u8).map(|key| Ok(([key, key], [round; 100]))))?;
        drop(other);
        db.drop_table("other")?;
        drop(table);
        db.close()?;
    }
    Ok(())
}

#[test]
fn no_failure_leaves_a_file_open_or_mapped() {
    let step = extent("KODIAK_FAULT_STEP", [29, 9, 1]) as usize;
    for wal in ["mapped", "segment"] {
        let dir = tempfile::tempdir().expect("a directory");
        let calm = Arc::new(FailingStorage::new(0));
        use_a_database(&calm, dir.path(), wal).expect("nothing fails");
        let (mut tried, mut told) = (0, 0);
        for nth in (1..calm.count()).step_by(step) {
            tried += 1;
            let dir = tempfile::tempdir().expect("a directory");
            let storage = Arc::new(FailingStorage::new(nth));
            let result = use_a_database(&storage, dir.path(), wal);
            if let Err(error) = &result {
                told += 1;
                let kinds = [ErrorKind::Io, ErrorKind::Unavailable];
                assert!(kinds.contains(&error.kind()), "{wal}, operation {nth}: {error:?}");
            }
            let Some(held) = held(dir.path()) else {
                eprintln!("skipped: there is no /proc here to look at");
                return;
            };
            assert!(held.is_empty(), "{wal}, operation {nth} ({result:?}): {held:#?}");
        }
        // About three of four: the others concern files that nothing needs any more, or are made good in the background.
        assert!(told * 4 >= tried, "{wal}: {told} of {tried} failures were told");
    }
}
