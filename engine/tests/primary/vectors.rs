//! Deletion vectors: scans, compactions and whatever else goes by them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use kodiak::core::storage::Storage;
use kodiak::manifest::{Manifest, VersionEdit};
use kodiak::{Builder, Db, MemoryStorage, ScanOptions, Settings, Snapshot, Table, TableOptions, TableSchema};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::common::{Contents, contents, crash_everywhere, fill};
use crate::support::{KINDS, key, settings, table};

type Model = BTreeMap<String, String>;

fn with_vectors(kind: &str, dead_share: f64) -> Settings {
    let mut settings = settings(kind);
    settings.index.deletion_vectors = true;
    settings.compaction.dead_share = dead_share;
    settings
}

fn open(storage: &Arc<impl Storage + 'static>, settings: Settings) -> Db {
    Builder::new(settings)
        .storage(Arc::clone(storage) as Arc<dyn Storage>)
        .open("/db")
        .expect("open")
}

fn check_sound(db: &Db) {
    let report = db.verify().expect("verify");
    assert!(report.is_clean(), "{report}");
    assert_eq!(
        report.deletion_vectors, report.tables,
        "not every table has deletion vectors"
    );
}

/// What scans in both directions give, over everything and from somewhere.
fn check_scans(table: &Table, snapshot: Option<&Snapshot>, model: &Model, from: &str) {
    let read = |from: &str, reverse: bool| -> Vec<(String, String)> {
        let mut options = ScanOptions::new(from..);
        if reverse {
            options = options.rev();
        }
        if let Some(snapshot) = snapshot {
            options = options.at(snapshot);
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        let items = table.scan_with(options).expect("scan");
        items
            .map(|item| item.map(|(key, value)| (text(&key), text(&value))))
            .collect::<Result<_, _>>()
            .expect("entries")
    };
    for from in ["", from] {
        let expected: Vec<_> = model
            .range(from.to_owned()..)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        assert!(read(from, false) == expected, "forward from \"{from}\"");
        let mut backward = read(from, true);
        backward.reverse();
        assert!(backward == expected, "backward to \"{from}\"");
    }
}

#[test]
fn scans_agree_with_a_model_whatever_happens() {
    for (seed, kind) in (0u64..6).zip(KINDS.into_iter().cycle()) {
        let storage = Arc::new(MemoryStorage::new());
        let share = [0.01, 0.5, 0.0][seed as usize % 3];
        let mut db = open(&storage, with_vectors(kind, share));
        let mut random = StdRng::seed_from_u64(seed);
        let mut model = Model::new();
        let mut held: Vec<(Snapshot, Model)> = Vec::new();
        for step in 0..160 {
            let rows = table(&db);
            match random.random_range(0..100) {
                0..60 => {
                    for _ in 0..random.random_range(1..60) {
                        let key = key(random.random_range(0..400));
                        if random.random_range(0..4) == 0 {
                            rows.delete(&key).expect("delete");
                            model.remove(&key);
                        } else {
                            let value = format!("value {step} of {key}");
                            rows.put(&key, &value).expect("put");
                            model.insert(key, value);
                        }
                    }
                }
                60..63 => {
                    let from = random.random_range(0..400);
                    let (from, to) = (key(from), key(from + random.random_range(1..30)));
                    rows.delete_range(from.as_bytes()..to.as_bytes()).expect("delete_range");
                    model.retain(|key, _| *key < from || *key >= to);
                }
                63..82 => db.flush().expect("flush"),
                82..86 => db.compact().expect("compact"),
                86..90 => db.wait_idle().expect("idle"),
                90..94 => held.push((db.snapshot(), model.clone())),
                94..97 => held.truncate(held.len() / 2),
                _ => {
                    held.clear();
                    drop(rows);
                    db.close().expect("close");
                    db = open(&storage, with_vectors(kind, share));
                }
            }
            let rows = table(&db);
            let from = key(random.random_range(0..400));
            check_scans(&rows, None, &model, &from);
            for (snapshot, model) in &held {
                check_scans(&rows, Some(snapshot), model, &from);
            }
            check_sound(&db);
        }
    }
}

#[test]
fn the_dead_are_counted_and_compaction_reclaims_them() {
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, with_vectors(kind, 0.5));
        let rows = table(&db);
        let write = |numbers: &mut dyn Iterator<Item = u32>| {
            numbers.for_each(|number| rows.put(key(number), format!("value {number}")).expect("put"));
            db.flush().expect("flush");
            db.wait_idle().expect("idle");
        };
        let dead = || {
            let levels = db.stats().tables[0].levels.clone();
            (
                levels.iter().map(|level| level.dead).sum::<u64>(),
                levels.iter().map(|level| level.entries).sum::<u64>(),
            )
        };
        write(&mut (0..300));
        db.compact().expect("compact");
        assert_eq!(dead(), (0, 300), "{kind}");
        write(&mut (0..300).step_by(5));
        assert_eq!(dead(), (60, 360), "{kind}");
        assert!(db.stats().to_string().contains("60 of 360 entries are dead (16.7 %)"));
        let snapshot = db.snapshot();
        // Now most rows of the first run are dead, but a snapshot sees them.
        write(&mut (0..300).filter(|number| number % 5 < 3));
        assert_eq!(dead(), (240, 540), "{kind}");
        drop(snapshot);
        // The threads look again once a second: of the first run the others stay, of the second nothing.
        let rewritten = (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            dead() == (0, 300)
        });
        assert!(rewritten, "{kind}: {:?}", dead());
        let all = rows.scan(..).expect("scan").count();
        assert_eq!(all, 300);
        rows.delete(key(1)).expect("delete");
        db.flush().expect("flush");
        assert_eq!(dead(), (2, 301), "the delete and what it deletes");
        db.compact().expect("compact");
        assert_eq!(dead(), (0, 299), "{kind}");
        check_sound(&db);
    }
}

#[test]
fn operands_and_what_has_expired_read_as_ever() {
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, with_vectors(kind, 0.01));
        let options = TableOptions::new().merge_operator("append");
        let texts = db
            .create_table_with("texts", TableSchema::key_value(), options)
            .expect("create");
        let mut model = Model::new();
        let mut random = StdRng::seed_from_u64(7);
        for round in 0..12 {
            for _ in 0..40 {
                let key = key(random.random_range(0..60));
                match random.random_range(0..5) {
                    0 => {
                        texts.put(&key, "p").expect("put");
                        model.insert(key, "p".to_owned());
                    }
                    1 => {
                        texts.delete(&key).expect("delete");
                        model.remove(&key);
                    }
                    2 if random.random_range(0..8) == 0 => {
                        texts.delete_range(key.as_bytes()..b"l").expect("delete_range");
                        model.retain(|other, _| *other < key);
                    }
                    _ => {
                        texts.merge(&key, "m").expect("merge");
                        model.entry(key).or_default().push('m');
                    }
                }
            }
            db.flush().expect("flush");
            check_scans(&texts, None, &model, &key(30));
            check_sound(&db);
            if round % 4 == 3 {
                db.compact().expect("compact");
                check_scans(&texts, None, &model, &key(30));
                check_sound(&db);
            }
        }
    }
}

#[test]
fn typed_rows_are_read_as_they_are() {
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, with_vectors(kind, 0.5));
        let columns = ["id", "value"].map(|name| Field::new(name, DataType::Int64, false));
        let schema = TableSchema::new(Arc::new(Schema::new(columns.to_vec())), &["id"]).expect("valid");
        let numbers = db.create_table("numbers", schema).expect("create");
        let insert = |ids: &[i64], times: i64| {
            let columns = [ids.to_vec(), ids.iter().map(|id| id * times).collect::<Vec<_>>()];
            let columns = columns.map(|values| Arc::new(Int64Array::from(values)) as _);
            let rows = ["id", "value"].into_iter().zip(columns);
            numbers
                .insert(&RecordBatch::try_from_iter(rows).expect("columns"))
                .expect("insert");
        };
        let all: Vec<i64> = (0..2000).collect();
        insert(&all, 1);
        db.flush().expect("flush");
        db.compact().expect("compact");
        let some: Vec<i64> = (0..2000).filter(|id| id % 7 < 2).collect();
        insert(&some, 10);
        db.flush().expect("flush");
        // These stay in memory.
        let few: Vec<i64> = (0..2100).filter(|id| id % 50 == 0).collect();
        insert(&few, 100);
        let expected: Vec<i64> = (0..2100)
            .filter(|id| *id < 2000 || id % 50 == 0)
            .map(|id| match id {
                id if id % 50 == 0 => 100 * id,
                id if id % 7 < 2 => 10 * id,
                id => id,
            })
            .collect();
        let check = |expected: &[i64], what: &str| {
            for reverse in [false, true] {
                let read = numbers.read().batch_size(333);
                let read = if reverse { read.rev() } else { read };
                let mut found = Vec::new();
                for batch in read.batches().expect("read") {
                    let batch = batch.expect("batch");
                    found.extend_from_slice(batch.column(1).as_primitive::<Int64Type>().values());
                }
                if reverse {
                    found.reverse();
                }
                assert!(found == expected, "{kind}, {what}, reverse: {reverse}");
            }
        };
        check(&expected, "a few updated");
        let gone: Vec<i64> = (0..2000).filter(|id| id % 50 > 4).collect();
        let keys = RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(gone)) as _)]);
        numbers.delete_keys(&keys.expect("a column")).expect("delete");
        db.flush().expect("flush");
        insert(&few, 1000);
        // Dead rows are passed over now, as they are most.
        let left = expected.iter().zip((0..2000).chain([2000, 2050]));
        let left = left.filter(|(_, id)| *id >= 2000 || id % 50 <= 4);
        let left: Vec<i64> = left
            .map(|(value, id)| if id % 50 == 0 { 1000 * id } else { *value })
            .collect();
        check(&left, "most deleted");
        check_sound(&db);
    }
}

#[test]
fn vectors_come_and_go_with_the_setting_and_with_copies() {
    let storage = Arc::new(MemoryStorage::new());
    let mut kept: Option<Contents> = None;
    let mut plain = settings("bplus");
    for (round, on) in [true, false, true, true].into_iter().enumerate() {
        plain.index.deletion_vectors = on;
        let db = open(&storage, plain.clone());
        match &kept {
            None => {
                fill(&db);
                kept = Some(contents(&db));
            }
            Some(kept) => assert!(contents(&db) == *kept, "{round}"),
        }
        db.flush().expect("flush");
        assert_eq!(db.stats().tables[0].deletion_vectors, on);
        let report = db.verify().expect("verify");
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.deletion_vectors, if on { 2 } else { 0 });
        db.checkpoint(format!("/copy{round}")).expect("checkpoint");
        db.close().expect("close");
        let named = |path: &str| {
            let state = Manifest::read(&*storage, Path::new(path)).expect("read");
            state.tables.values().filter(|table| table.dead.is_some()).count()
        };
        let expected = if on { 2 } else { 0 };
        assert_eq!((named("/db"), named(&format!("/copy{round}"))), (expected, expected));
        let copy = Builder::new(plain.clone())
            .storage(Arc::clone(&storage) as Arc<dyn Storage>)
            .open(format!("/copy{round}"))
            .expect("open");
        assert!(Some(contents(&copy)) == kept, "{round}");
        assert!(copy.verify().expect("verify").is_clean());
    }
    // Open for reading only, the vectors of the manifest are used as they are.
    let db = Builder::new(plain)
        .storage(Arc::clone(&storage) as Arc<dyn Storage>)
        .read_only()
        .open("/db")
        .expect("open");
    assert!(db.stats().tables[0].deletion_vectors);
    assert!(Some(contents(&db)) == kept);
}

#[test]
fn vectors_without_an_index_are_refused() {
    let storage = Arc::new(MemoryStorage::new());
    let error = Builder::new(with_vectors("fence", 0.5))
        .storage(storage as Arc<dyn Storage>)
        .open("/db")
        .expect_err("nothing tells what an update displaces");
    assert_eq!(error.setting(), Some("index.deletion_vectors"));
    assert!(error.message().contains("bplus, fractal"), "{error}");
}

#[test]
fn scans_go_by_the_vectors_and_verify_tells_of_wrong_ones() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, with_vectors("bplus", 0.5));
    let rows = table(&db);
    for number in 0..10 {
        rows.put(key(number), "value").expect("put");
    }
    db.flush().expect("flush");
    db.close().expect("close");
    let state = Manifest::read(&*storage, Path::new("/db")).expect("read");
    let placed = state.tables[&1].runs.values().next().expect("a run");
    let run = &placed.run.id;
    assert!(*run < 128 && placed.run.max_seq < 128, "numbers of one byte");
    // Change 2^20 + 2: table 1, on top of what is dead, of one run, the newest sequence number, no operands, rows 3 and 4.
    let bitmap = [0x3a, 0x30, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 16, 0, 0, 0, 3, 0, 4, 0];
    let mut body = vec![1, 0, 1, *run as u8, placed.run.max_seq as u8, 0, bitmap.len() as u8];
    body.extend_from_slice(&bitmap);
    let mut edit = vec![0x82, 0x80, 0x40, body.len() as u8];
    edit.extend_from_slice(&body);
    let edit = VersionEdit::decode(&edit).expect("as documented");
    let mut manifest = Manifest::open(Arc::clone(&storage) as Arc<dyn Storage>, Path::new("/db")).expect("open");
    manifest.append(&edit).expect("fits");
    drop(manifest);
    let db = open(&storage, with_vectors("bplus", 0.5));
    assert_eq!(
        table(&db).scan(..).expect("scan").count(),
        8,
        "rows 3 and 4 are passed over"
    );
    let report = db.verify().expect("verify");
    assert_eq!(report.problems.len(), 2, "{report}");
    for (problem, row) in report.problems.iter().zip([3, 4]) {
        let message = format!("{problem}");
        assert!(message.contains(&format!("row {row} of run {run}")), "{message}");
        assert!(message.contains("nothing has superseded it"), "{message}");
    }
    db.close().expect("close");
    // Without the setting they are gone, and with it made anew.
    for on in [false, true] {
        let mut settings = settings("bplus");
        settings.index.deletion_vectors = on;
        let db = open(&storage, settings);
        assert_eq!(table(&db).scan(..).expect("scan").count(), 10);
        assert!(db.verify().expect("verify").is_clean());
        db.close().expect("close");
    }
}

#[test]
fn a_crash_at_any_write_leaves_vectors_of_the_runs_that_are_there() {
    for kind in KINDS {
        let prepare = |storage: &Arc<_>| {
            let db = open(storage, with_vectors(kind, 0.5));
            let rows = table(&db);
            for round in 0..3 {
                for number in (round..60).step_by(round as usize + 1) {
                    rows.put(key(number), format!("{number} of round {round}"))
                        .expect("put");
                }
                db.flush().expect("flush");
            }
            rows.delete(key(5)).expect("delete");
            db.sync().expect("sync");
            db
        };
        let expected = contents(&prepare(&Arc::new(kodiak_storage::FaultStorage::new())));
        let work = |db: &Db| {
            let _ = db.flush();
            let _ = db.compact();
        };
        crash_everywhere(prepare, work, |image, nth| {
            let report = Builder::new(with_vectors(kind, 0.5))
                .storage(Arc::clone(image) as Arc<dyn Storage>)
                .verify("/db")
                .expect("verify");
            assert!(report.is_clean(), "{kind}, before mutation {nth}: {report}");
            let db = open(image, with_vectors(kind, 0.5));
            assert!(contents(&db) == expected, "{kind}, before mutation {nth}");
            check_sound(&db);
        });
    }
}
