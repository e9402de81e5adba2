//! What flushes do to indexes.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use kodiak::core::format::Compression;
use kodiak::settings::Maintenance;
use kodiak::{ErrorKind, MemoryStorage};
use kodiak_storage::{Fault, FaultRule, FaultStorage, OpKind};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::common::table_files;
use crate::support::*;

/// Indexes are brought up to date side by side: what happens to the file of one concerns no other.
#[test]
fn an_index_whose_file_cannot_be_synced_is_given_up_alone() {
    for maintenance in MAINTENANCE {
        let storage = Arc::new(FaultStorage::new());
        let db = open(&storage, settings("fractal", maintenance));
        let table = people(&db, false);
        table.create_index(by_age()).expect("create_index");
        table.create_index(by_town()).expect("create_index");
        let some = |round: i64| -> Vec<Person> {
            let person = |id| {
                (
                    id,
                    Some(((id + round) % 9) as i32),
                    Some(format!("town{}", id % 4)),
                    round,
                )
            };
            (0..60).map(person).collect()
        };
        table.insert(&batch(&some(0))).expect("insert");
        db.flush().expect("flush");
        let first = table_files(&*storage, "/db/tables/000001", ".secondary.index").remove(0);
        let rule = FaultRule::nth(OpKind::Sync, 1, Fault::Eio).on_path(first.to_string_lossy());
        storage.set_plan(rule);
        table.insert(&batch(&some(1)[..40])).expect("insert");
        // Nobody knows what a failed sync has left: another attempt gives the index up.
        let flushed = db.flush().or_else(|_| db.flush());
        flushed.expect("a second attempt");
        assert_eq!(storage.faults_fired(), 1, "{maintenance:?}");
        check(&table, &["by_town"], None);
        let given_up = table.index("by_age").and_then(|read| read.batches().map(drop));
        assert_eq!(given_up.expect_err("given up").kind(), ErrorKind::Unavailable);
        drop(table);
        db.close().expect("close");
        let db = open(&storage, settings("fractal", maintenance));
        check(&db.table("people").expect("table"), &["by_age", "by_town"], None);
        check_sound(&db);
    }
}

/// What an eager flush replaces is of several runs and levels, of several blocks each, and of older schemas.
#[test]
fn rows_that_are_written_again_are_found_whatever_format_and_schema_they_are_of() {
    for (format, compression) in [
        ("feather", Compression::None),
        ("feather", Compression::Lz4),
        ("parquet", Compression::Zstd),
        ("row", Compression::None),
    ] {
        let mut settings = settings("fractal", Maintenance::Eager);
        settings.format.kind = format.to_owned();
        settings.format.compression = compression;
        let db = open(&Arc::new(MemoryStorage::new()), settings);
        let table = people(&db, false);
        let mut random = StdRng::seed_from_u64(7);
        for index in [by_age(), by_town()] {
            table.create_index(index).expect("create_index");
        }
        let all = |round: i64| -> Vec<Person> {
            let age = |id: i64| (id % 9 > 0).then_some((id * 31 % 10) as i32);
            let person = |id| (id, age(id), Some(format!("town{}", id % 6)), round);
            (0..3000).map(person).collect()
        };
        table.insert(&batch(&all(0))).expect("insert");
        db.compact().expect("compact");
        for round in 1..7 {
            let some = (0..400).map(|_| {
                let age = (random.random_range(0..8) > 0).then(|| random.random_range(0..10));
                let town = format!("town{}", random.random_range(0..5));
                (random.random_range(0..3100), age, Some(town), round)
            });
            table.insert(&batch(&some.collect::<Vec<_>>())).expect("insert");
            let gone: Vec<i64> = (0..20).map(|_| random.random_range(0..3000)).collect();
            table.delete_keys(&ids(&gone)).expect("delete");
            let snapshot = (round == 2).then(|| db.snapshot());
            db.flush().expect("flush");
            check(&table, &["by_age", "by_town"], snapshot.as_ref());
            check(&table, &["by_age", "by_town"], None);
            check_sound(&db);
            if round == 3 {
                table.alter().drop_column("note").commit().expect("alter");
                let note = Field::new("note", DataType::Int64, true);
                table.alter().add_column(note).commit().expect("alter");
            }
        }
        let stats = db.stats();
        for index in &stats.tables[0].secondary {
            assert!(index.exact, "{format}: {index:?}");
        }
    }
}
