//! What gets answer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kodiak::core::storage::Storage;
use kodiak::{MemoryStorage, TableOptions, TableSchema};

use crate::support::{KINDS, check_sound, key, open, overlapping_runs, searched, table};

#[test]
fn a_get_searches_one_run_or_none_however_many_there_are() {
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, kind);
        let table = table(&db);
        overlapping_runs(&table, &db, 12);
        table.delete(key(7)).expect("delete");
        db.flush().expect("flush");
        assert_eq!(db.stats().tables[0].levels[0].runs, 13);
        let found = searched(&db, || {
            let value = table.get(key(5)).expect("get");
            assert_eq!(value.as_deref(), Some(&b"value 5 of run 11"[..]));
        });
        assert_eq!(found, 1, "{kind}");
        let absent = searched(&db, || {
            assert!(table.get("key00005x").expect("get").is_none());
            assert!(table.get(key(7)).expect("get").is_none());
        });
        assert_eq!(absent, 0, "{kind}");
        check_sound(&db);
    }
}

#[test]
fn older_snapshots_see_what_they_saw() {
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, kind);
        let table = table(&db);
        table.put("a", "1").expect("put");
        table.put("gone", "1").expect("put");
        let first = db.snapshot();
        db.flush().expect("flush");
        table.put("a", "2").expect("put");
        table.delete_range("g".."h").expect("delete_range");
        let second = db.snapshot();
        db.flush().expect("flush");
        table.delete("a").expect("delete");
        table.put("new", "3").expect("put");
        db.flush().expect("flush");
        let see = || {
            let at = |snapshot, key: &str| table.get_at(snapshot, key).expect("get").map(|value| value.to_vec());
            assert_eq!(at(&first, "a").as_deref(), Some(&b"1"[..]), "{kind}");
            assert_eq!(at(&first, "gone").as_deref(), Some(&b"1"[..]), "{kind}");
            assert_eq!(at(&first, "new"), None, "{kind}");
            assert_eq!(at(&second, "a").as_deref(), Some(&b"2"[..]), "{kind}");
            assert_eq!(at(&second, "gone"), None, "{kind}");
            assert!(table.get("a").expect("get").is_none(), "{kind}");
            assert_eq!(table.get("new").expect("get").as_deref(), Some(&b"3"[..]), "{kind}");
        };
        see();
        db.compact().expect("compact");
        see();
        check_sound(&db);
    }
}

#[test]
fn a_version_that_a_compaction_drops_leaves_the_index() {
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, kind);
        let table = table(&db);
        overlapping_runs(&table, &db, 2);
        let snapshot = db.snapshot();
        // The newest version of `key00003` is dropped, an older one is kept for the snapshot.
        table.put(key(3), "short-lived").expect("put");
        table.delete_range(key(0)..key(100)).expect("delete_range");
        table.delete(key(150)).expect("delete");
        db.flush().expect("flush");
        db.compact().expect("compact");
        assert!(table.get(key(3)).expect("get").is_none());
        assert!(table.get(key(150)).expect("get").is_none());
        let value = table.get_at(&snapshot, key(3)).expect("get");
        assert_eq!(value.as_deref(), Some(&b"value 3 of run 1"[..]), "{kind}");
        check_sound(&db);
        drop(snapshot);
        db.compact().expect("compact");
        check_sound(&db);
        // Nothing is left of what was deleted: `verify` would tell of a key that is in the index only.
        table.delete_range("a".."z").expect("delete_range");
        db.compact().expect("compact");
        assert_eq!(
            db.stats().tables[0]
                .levels
                .iter()
                .map(|level| level.runs)
                .sum::<usize>(),
            0
        );
        check_sound(&db);
        assert!(table.get(key(120)).expect("get").is_none());
    }
}

#[test]
fn operands_and_expired_versions_read_as_without_an_index() {
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, kind);
        let options = TableOptions::new().merge_operator("counter");
        let counts = db
            .create_table_with("counts", TableSchema::key_value(), options)
            .expect("create");
        let options = TableOptions::new().ttl(Duration::from_millis(50));
        let brief = db
            .create_table_with("brief", TableSchema::key_value(), options)
            .expect("create");
        for round in 1..5i64 {
            counts.merge("n", round.to_le_bytes()).expect("merge");
            db.flush().expect("flush");
            assert_eq!(
                counts.get("n").expect("get").as_deref(),
                Some(&(1..=round).sum::<i64>().to_le_bytes()[..]),
                "{kind}"
            );
        }
        counts.merge("n", 100i64.to_le_bytes()).expect("merge");
        assert_eq!(
            counts.get("n").expect("get").as_deref(),
            Some(&110i64.to_le_bytes()[..]),
            "{kind}"
        );
        storage.freeze_clock(1_000_000);
        brief.put("k", "v").expect("put");
        db.flush().expect("flush");
        storage.jump_clock(20_000);
        assert!(brief.get("k").expect("get").is_some(), "{kind}");
        storage.jump_clock(60_000);
        assert!(brief.get("k").expect("get").is_none(), "{kind}");
        db.compact().expect("compact");
        assert!(brief.get("k").expect("get").is_none(), "{kind}");
        check_sound(&db);
    }
}

#[test]
fn keys_that_are_too_long_for_an_index_are_found() {
    let long = |last: u8| [vec![b'k'; 20 << 10], vec![last]].concat();
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, kind);
        let table = table(&db);
        for last in 0..3 {
            table.put(long(last), [last]).expect("put");
            table.put([b'a' + last], [last]).expect("put");
            db.flush().expect("flush");
        }
        table.delete(long(1)).expect("delete");
        db.compact().expect("compact");
        assert_eq!(table.get(long(2)).expect("get").as_deref(), Some(&[2][..]), "{kind}");
        assert!(table.get(long(1)).expect("get").is_none(), "{kind}");
        assert_eq!(table.get("b").expect("get").as_deref(), Some(&[1][..]), "{kind}");
        check_sound(&db);
    }
}

#[test]
fn ingested_and_moved_runs_are_in_the_index() {
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, kind);
        let table = table(&db);
        table.put(key(1), "older").expect("put");
        let entries = (0..2000).map(|number| Ok((key(number), format!("ingested {number}"))));
        table.ingest(entries).expect("ingest");
        table.put(key(2), "newer").expect("put");
        // With something in memory and without.
        table.ingest([Ok((key(5000), "alone"))]).expect("ingest");
        table.ingest([Ok((key(5000), "again"))]).expect("ingest");
        assert_eq!(table.get(key(5000)).expect("get").as_deref(), Some(&b"again"[..]));
        check_sound(&db);
        let found = searched(&db, || {
            assert_eq!(table.get(key(1)).expect("get").as_deref(), Some(&b"ingested 1"[..]));
            assert_eq!(table.get(key(2)).expect("get").as_deref(), Some(&b"newer"[..]));
        });
        assert_eq!(found, 2, "{kind}");
        db.compact().expect("compact");
        assert_eq!(table.get(key(1)).expect("get").as_deref(), Some(&b"ingested 1"[..]));
        check_sound(&db);
        db.drop_table("t").expect("drop");
        drop(table);
        db.close().expect("close");
        assert!(
            storage.list(Path::new("/db/tables")).expect("list").is_empty(),
            "{kind}"
        );
    }
}
