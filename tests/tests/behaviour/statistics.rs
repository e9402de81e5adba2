//! What `stats` tells.

use std::sync::Arc;

use kodiak::{Builder, Db, MemoryStorage, Table, TableSchema};
use kodiak_tests::factors::small;

fn open() -> (Db, Table) {
    let mut settings = small();
    settings.compaction.threads = 1;
    settings.set("compaction.l0_trigger", "20").expect("a setting");
    let db = Builder::new(settings)
        .storage(Arc::new(MemoryStorage::new()))
        .open("/db")
        .expect("open");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    (db, table)
}

/// Three runs in level 0, each with the same keys.
fn fill(db: &Db, table: &Table) {
    for _ in 0..3 {
        for key in 0..100u32 {
            table.put(key.to_be_bytes(), [0; 50]).expect("put");
        }
        db.flush().expect("flush");
    }
}

#[test]
fn statistics_tell_what_reads_and_space_cost() {
    let (db, table) = open();
    assert_eq!(db.stats().read_amplification(), None);
    assert_eq!(db.stats().tables[0].space_amplification(), None);
    let quiet = db.stats().to_string();
    for untold in ["written", "stalls", "compactions", "runs moved", "cache"] {
        assert!(!quiet.contains(untold), "{quiet}");
    }
    fill(&db, &table);
    assert_eq!(db.stats().tables[0].sorted_runs(), 3, "{}", db.stats());
    for key in 0..100u32 {
        assert!(table.get(key.to_be_bytes()).expect("get").is_some());
    }
    let stats = db.stats();
    assert_eq!(stats.reads.gets, 100);
    assert_eq!(stats.read_amplification(), Some(1.0), "the newest run has every key");
    assert!(stats.write_amplification().is_some_and(|factor| factor > 1.0));
    db.compact().expect("compact");
    table.put(b"more", [0; 50]).expect("put");
    db.flush().expect("flush");
    let stats = db.stats();
    assert_eq!(stats.tables[0].sorted_runs(), 2);
    let factor = stats.tables[0].space_amplification().expect("runs");
    assert!(factor > 1.0 && factor < 2.0, "{stats}");
    let told = stats.to_string();
    for line in [
        "2 sorted runs to merge, space amplification at most 1.",
        "point reads: 100 went to the runs and searched 1.00 each",
        "written: 1",
        "compactions: 1",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
}
