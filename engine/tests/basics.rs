//! The engine end to end, over a model.

use std::collections::BTreeMap;
use std::sync::Arc;

use kodiak::core::storage::Storage;
use kodiak::{Builder, Db, MemoryStorage, ScanOptions, Settings, Table, TableOptions, TableSchema};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn small() -> Settings {
    let mut settings = Settings::default();
    settings.memtable.size = 64 << 10;
    settings.format.block_size = Some(4 << 10);
    settings.compaction.target_run_size = 128 << 10;
    settings.wal.segment_size = 256 << 10;
    settings.cache.capacity = 1 << 20;
    settings
}

fn check(table: &Table, model: &Model) {
    let all: Vec<(Vec<u8>, Vec<u8>)> = table
        .scan(..)
        .expect("scan")
        .map(|item| item.map(|(key, value)| (key.to_vec(), value.to_vec())).expect("entry"))
        .collect();
    let expected: Vec<(Vec<u8>, Vec<u8>)> = model.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    assert_eq!(all.len(), expected.len());
    assert!(all == expected, "a scan differs from the model");
    let reverse: Vec<Vec<u8>> = table
        .scan_with(ScanOptions::new(..).rev())
        .expect("scan")
        .map(|item| item.expect("entry").0.to_vec())
        .collect();
    assert!(
        reverse.iter().eq(model.keys().rev()),
        "a reverse scan differs from the model"
    );
    for (key, value) in model.iter().step_by(7) {
        assert_eq!(table.get(key).expect("get").as_deref(), Some(value.as_slice()));
        assert_eq!(table.get([key.as_slice(), b"x"].concat()).expect("get"), None);
    }
}

#[test]
fn random_writes_come_back_through_flush_compaction_and_reopening() {
    let storage = Arc::new(MemoryStorage::new());
    let open = || {
        Builder::new(small())
            .storage(storage.clone())
            .open("/db")
            .expect("open")
    };
    let mut db = open();
    let mut table = db.create_table("t", TableSchema::key_value()).expect("create");
    let mut model = Model::new();
    let mut rng = StdRng::seed_from_u64(7);
    for round in 0..12 {
        for _ in 0..2000 {
            let key = format!("user{:05}", rng.random_range(0..4000)).into_bytes();
            match rng.random_range(0..100) {
                0..75 => {
                    let value = vec![rng.random::<u8>(); rng.random_range(0..60)];
                    table.put(&key, &value).expect("put");
                    model.insert(key, value);
                }
                75..97 => {
                    table.delete(&key).expect("delete");
                    model.remove(&key);
                }
                _ => {
                    let end = [key.as_slice(), b"5"].concat();
                    table
                        .delete_range(key.as_slice()..end.as_slice())
                        .expect("delete_range");
                    let gone: Vec<_> = model.range(key..end).map(|(key, _)| key.clone()).collect();
                    gone.iter().for_each(|key| {
                        model.remove(key);
                    });
                }
            }
        }
        match round % 4 {
            0 => db.flush().expect("flush"),
            1 => db.compact().expect("compact"),
            2 => {
                drop(table);
                db.close().expect("close");
                db = open();
                table = db.table("t").expect("table");
            }
            _ => {}
        }
        check(&table, &model);
    }
    db.wait_idle().expect("idle");
    check(&table, &model);
    table.put(b"user", b"one more").expect("put");
    model.insert(b"user".to_vec(), b"one more".to_vec());
    db.compact().expect("compact");
    assert!(db.stats().compactions.jobs > 0, "{}", db.stats());
    check(&table, &model);
}

#[test]
fn a_snapshot_keeps_seeing_its_moment() {
    let storage = Arc::new(MemoryStorage::new());
    let db = Builder::new(small()).storage(storage).open("/db").expect("open");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    let mut snapshots = Vec::new();
    for round in 0..5u8 {
        for key in 0..500u32 {
            table.put(key.to_be_bytes(), [round; 10]).expect("put");
        }
        snapshots.push((round, db.snapshot()));
        if round % 2 == 0 {
            db.compact().expect("compact");
        }
    }
    table.delete_range([0u8; 4]..=[255u8; 4]).expect("delete everything");
    db.compact().expect("compact");
    for (round, snapshot) in &snapshots {
        for key in 0..500u32 {
            let value = table.get_at(snapshot, key.to_be_bytes()).expect("get");
            assert_eq!(value.as_deref(), Some(&[*round; 10][..]), "key {key} in round {round}");
        }
        assert_eq!(
            table
                .scan_with(ScanOptions::new(..).at(snapshot))
                .expect("scan")
                .count(),
            500
        );
    }
    drop(snapshots);
    assert_eq!(table.scan(..).expect("scan").count(), 0);
    db.compact().expect("compact");
    assert_eq!(db.stats().disk_bytes(), 0, "{}", db.stats());
}

#[test]
fn merge_operands_add_up_wherever_they_are() {
    let storage = Arc::new(MemoryStorage::new());
    let db = Builder::new(small()).storage(storage).open("/db").expect("open");
    let options = TableOptions::new().merge_operator("counter");
    let table = db
        .create_table_with("t", TableSchema::key_value(), options)
        .expect("create");
    for round in 1..=30i64 {
        for key in 0..50u8 {
            table.merge([key], round.to_le_bytes()).expect("merge");
        }
        if round % 7 == 0 {
            db.flush().expect("flush");
        }
        if round == 16 {
            db.compact().expect("compact");
        }
    }
    let expected = (1..=30i64).sum::<i64>().to_le_bytes();
    for key in 0..50u8 {
        assert_eq!(table.get([key]).expect("get").as_deref(), Some(&expected[..]));
    }
    for options in [ScanOptions::new(..), ScanOptions::new(..).rev()] {
        let values: Vec<_> = table
            .scan_with(options)
            .expect("scan")
            .map(|item| item.expect("entry").1)
            .collect();
        assert_eq!(values.len(), 50);
        assert!(values.iter().all(|value| **value == expected));
    }
}

#[test]
fn local_files_survive_reopening() {
    let dir = tempfile::tempdir().expect("a directory");
    {
        let db = Db::open(dir.path(), Settings::default()).expect("open");
        let table = db.create_table("t", TableSchema::key_value()).expect("create");
        (0..10_000u32).for_each(|key| table.put(key.to_be_bytes(), b"value").expect("put"));
    }
    let db = Db::open(dir.path(), Settings::default()).expect("open again");
    assert_eq!(db.table("t").expect("table").scan(..).expect("scan").count(), 10_000);
    let second = Db::open(dir.path(), Settings::default()).expect_err("two at once");
    assert_eq!(second.kind(), kodiak::ErrorKind::Locked);
}

#[test]
fn a_compaction_asked_for_gets_along_with_those_in_the_background() {
    let mut settings = small();
    settings.memtable.size = 64 << 10;
    settings.compaction.threads = 4;
    let db = Builder::new(settings)
        .storage(Arc::new(MemoryStorage::new()))
        .open("/db")
        .expect("open");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..40u32 {
                for key in 0..700u32 {
                    table
                        .put((key * 97 % 5000).to_be_bytes(), [round as u8; 90])
                        .expect("put");
                }
            }
        });
        while !writer.is_finished() {
            db.compact().expect("compact");
        }
        writer.join().expect("the writer");
    });
    db.wait_idle().expect("idle");
    assert_eq!(table.scan(..).expect("scan").count(), 700);
}

#[test]
fn reads_are_counted_in_mapped_files_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = kodiak::Db::open(dir.path(), small()).expect("open");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    (0..2000u32).for_each(|key| table.put(key.to_be_bytes(), [7; 100]).expect("put"));
    db.compact().expect("compact");
    let before = db.stats();
    for key in 0..100u32 {
        assert!(table.get((key * 17).to_be_bytes()).expect("get").is_some());
    }
    let found = db.stats();
    assert_eq!(found.reads.runs - before.reads.runs, 100);
    assert_eq!(found.reads.mapped_blocks - before.reads.mapped_blocks, 100);
    assert_eq!(
        found.blocks_read() - before.blocks_read(),
        100,
        "uncompressed Feather does not go through the cache"
    );
    for key in 0..100u32 {
        assert!(table.get([key.to_be_bytes(), [1; 4]].concat()).expect("get").is_none());
    }
    let absent = db.stats();
    let searched = absent.reads.runs - found.reads.runs;
    assert_eq!(
        absent.reads.excluded - found.reads.excluded + searched,
        100,
        "all keys are within the run's bounds"
    );
    assert!(searched < 20, "{searched} filters were wrong");
    assert_eq!(table.scan(..).expect("scan").count(), 2000);
    assert!(db.stats().reads.mapped_blocks > absent.reads.mapped_blocks);
    assert!(db.stats().to_string().contains("in mapped files"));
}

/// Bytes of the filters of a table's runs, and their entries.
fn filters(storage: &MemoryStorage, table: u32) -> (usize, u64) {
    let dir = std::path::PathBuf::from(format!("/db/tables/{table:06}"));
    let names = storage.list(&dir).expect("list");
    let sidecars = names.iter().filter(|name| name.ends_with(".meta"));
    sidecars.fold((0, 0), |(bytes, entries), name| {
        let dump = kodiak::inspect::sidecar(storage, &dir.join(name)).expect("sidecar");
        (
            bytes + dump.filter.map_or(0, |(_, _, len)| len),
            entries + dump.meta.entries,
        )
    })
}

#[test]
fn filters_take_the_bits_per_key_of_the_settings_whatever_is_moved() {
    let storage = Arc::new(MemoryStorage::new());
    let mut settings = small();
    settings.memtable.size = 64 << 20;
    settings.compaction.threads = 1;
    let db = Builder::new(settings)
        .storage(storage.clone())
        .open("/db")
        .expect("open");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    let bits = |what: &str| {
        let (bytes, entries) = filters(&storage, 1);
        let bits = 8.0 * bytes as f64 / entries as f64;
        assert!((8.0..13.0).contains(&bits), "{what}: {bits} bits per key");
    };
    for part in 0..3u32 {
        for key in 0..20_000u32 {
            table.put((key * 3 + part).to_be_bytes(), b"value").expect("put");
        }
        db.flush().expect("flush");
        if part == 0 {
            bits("in level 0");
        }
        // All entries come from level 0 to a level that has none, or has the rest.
        db.compact().expect("compact");
        bits("merged into one");
    }
    // A level 0 that is empty before a flush is as large as what the flush brings.
    for key in 0..20_000u32 {
        table.put((key * 3).to_be_bytes(), b"other").expect("put");
    }
    db.flush().expect("flush");
    bits("level 0 above one that is three times as large");
}

#[test]
fn a_batch_with_a_table_of_another_database_is_refused() {
    let open = || {
        let storage = Arc::new(MemoryStorage::new());
        let db = Builder::new(small()).storage(storage).open("/db").expect("open");
        let table = db.create_table("t", TableSchema::key_value()).expect("create");
        (db, table)
    };
    let ((db, table), (_other, foreign)) = (open(), open());
    let mut batch = db.batch();
    batch.put(&table, "here", "1").put(&foreign, "there", "2");
    let error = db.write(batch).expect_err("two databases");
    assert_eq!(error.kind(), kodiak::ErrorKind::InvalidInput, "{error}");
    assert_eq!(table.scan(..).expect("scan").count(), 0);
    assert_eq!(foreign.scan(..).expect("scan").count(), 0);
}

#[test]
fn of_many_who_drop_a_table_one_does_and_the_others_are_told() {
    let storage = Arc::new(MemoryStorage::new());
    let db = Builder::new(small()).storage(storage).open("/db").expect("open");
    for _ in 0..200 {
        db.create_table("t", TableSchema::key_value()).expect("create");
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let droppers: Vec<_> = (0..4).map(|_| scope.spawn(|| db.drop_table("t"))).collect();
            droppers
                .into_iter()
                .map(|dropper| dropper.join().expect("no panic"))
                .collect()
        });
        let mut dropped = 0;
        for outcome in outcomes {
            match outcome {
                Ok(()) => dropped += 1,
                Err(error) => assert_eq!(error.kind(), kodiak::ErrorKind::NotFound, "{error}"),
            }
        }
        assert_eq!((dropped, db.tables()), (1, Vec::new()));
    }
}

#[test]
fn ranges_backward_are_ranges_forward_in_the_other_order() {
    let mut settings = small();
    settings.memtable.size = 1 << 20;
    settings.set("compaction.l0_trigger", "20").expect("a setting");
    let db = Builder::new(settings)
        .storage(Arc::new(MemoryStorage::new()))
        .open("/db")
        .expect("open");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    let mut rng = StdRng::seed_from_u64(11);
    let mut snapshots = Vec::new();
    // Versions that snapshots keep, each in a block of its own.
    for round in 0..4u8 {
        table.put(5000u32.to_be_bytes(), [round; 5000]).expect("put");
        snapshots.push(db.snapshot());
    }
    // Runs of everything, runs of some of it, some with deletes, and a memtable on top.
    for (round, share) in [1.0, 0.3, 0.02, 0.3, 0.01].into_iter().enumerate() {
        for key in 0..3000u32 {
            if rng.random_bool(share) {
                let key = key.to_be_bytes();
                match round {
                    3 if rng.random_bool(0.2) => table.delete(key),
                    _ => table.put(key, [round as u8; 20]),
                }
                .expect("write");
            }
        }
        snapshots.push(db.snapshot());
        if round < 4 {
            db.flush().expect("flush");
        }
    }
    for snapshot in &snapshots {
        for turn in 0..40 {
            let start = if turn == 0 { 4990 } else { rng.random_range(0..3000u32) };
            let range = start.to_be_bytes()..(start + rng.random_range(1..600u32)).to_be_bytes();
            let read = |reverse: bool| {
                let options = ScanOptions::new(range.clone()).at(snapshot);
                let options = if reverse { options.rev() } else { options };
                let mut scan = table.scan_with(options).expect("scan");
                let mut found = Vec::new();
                while let Some((key, value)) = scan.next_ref().expect("an entry") {
                    found.push((key.to_vec(), value.to_vec()));
                }
                found
            };
            let mut forward = read(false);
            forward.reverse();
            assert!(read(true) == forward, "{range:?}");
        }
    }
}
