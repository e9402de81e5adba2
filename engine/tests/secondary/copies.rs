//! Secondary indexes in databases open for reading only, in copies, and after repairs.

use std::path::Path;
use std::sync::Arc;

use kodiak::core::storage::Storage;
use kodiak::maintenance::BackupDir;
use kodiak::settings::Maintenance;
use kodiak::{Builder, Db, ErrorKind, MemoryStorage, Table};
use kodiak_storage::FaultStorage;

use crate::support::*;

fn builder(storage: &Arc<impl Storage + 'static>, settings: kodiak::Settings) -> Builder {
    Builder::new(settings).storage(Arc::clone(storage) as Arc<dyn Storage>)
}

fn some(from: i64, to: i64) -> Vec<Person> {
    let person = |id: i64| (id, Some((id % 10) as i32), Some(format!("town {}", id % 7)), id);
    (from..to).map(person).collect()
}

/// A table with two indexes, rows in several runs, and changes of them that are only in the log.
fn prepare(db: &Db) -> Table {
    let table = people(db, false);
    table.create_index(by_age()).expect("create an index");
    table.create_index(by_town()).expect("create an index");
    for round in 0..3 {
        table
            .insert(&batch(&some(round * 50, round * 50 + 100)))
            .expect("insert");
        db.flush().expect("flush");
    }
    let mut changed = some(20, 40);
    changed.iter_mut().for_each(|person| person.1 = Some(3));
    table.insert(&batch(&changed)).expect("insert");
    table.delete_keys(&ids(&[1, 60, 120])).expect("delete");
    table
}

const INDEXES: [&str; 2] = ["by_age", "by_town"];

#[test]
fn a_database_open_for_reading_reads_through_indexes_and_changes_nothing() {
    for kind in KINDS {
        for maintenance in MAINTENANCE {
            let storage = Arc::new(FaultStorage::with_seed(1));
            let db = open(&storage, settings(kind, maintenance));
            drop(prepare(&db));
            db.close().expect("close");
            let before = storage.mutations();
            // Whatever the settings say.
            for setting in KINDS {
                let mut settings = settings(setting, Maintenance::Lazy);
                // The defaults of an index that the settings do not name need more.
                settings.secondary.pool = 64 << 20;
                let db = builder(&storage, settings).read_only().open("/db").expect("open");
                check(&db.table("people").expect("table"), &INDEXES, None);
                for index in &db.stats().tables[0].secondary {
                    assert_eq!((index.kind.as_str(), index.building), (kind, false));
                    assert_eq!(index.exact, maintenance == Maintenance::Eager);
                    assert!(index.index.used_bytes > 0);
                }
                db.close().expect("close");
            }
            assert_eq!(storage.mutations(), before, "{kind}: something was changed");
        }
    }
}

#[test]
fn a_reader_beside_a_writer_is_told_to_open_anew_and_never_misled() {
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, settings(kind, Maintenance::Lazy));
        let written = prepare(&db);
        db.flush().expect("flush");
        let reader = builder(&storage, settings(kind, Maintenance::Lazy)).read_only();
        let reader = reader.open("/db").expect("open");
        let table = reader.table("people").expect("table");
        let read = || -> kodiak::Result<Vec<Person>> {
            let batches: kodiak::Result<Vec<_>> = table.index("by_age")?.batches()?.collect();
            Ok(rows(batches?.into_iter().map(Ok)))
        };
        let expected = sorted(rows(table.read().batches().expect("scan")), "by_age");
        for round in 0..30 {
            written
                .insert(&batch(&some(1000 * round, 1000 * round + 30)))
                .expect("insert");
            db.flush().expect("flush");
            match read() {
                Ok(found) => assert_eq!(found, expected, "{kind}, round {round}"),
                Err(error) => assert!(
                    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::NotFound),
                    "{kind}, round {round}: {error}"
                ),
            }
        }
        let anew = builder(&storage, settings(kind, Maintenance::Lazy)).read_only();
        let anew = anew.open("/db").expect("open");
        check(&anew.table("people").expect("table"), &INDEXES, None);
    }
}

#[test]
fn copies_are_read_through_indexes_at_once() {
    for kind in KINDS {
        for maintenance in MAINTENANCE {
            let storage = Arc::new(MemoryStorage::new());
            let db = open(&storage, settings(kind, maintenance));
            let table = prepare(&db);
            // Nothing is merged between one backup and the next.
            db.compact().expect("compact");
            db.wait_idle().expect("idle");
            db.checkpoint("/copy").expect("checkpoint");
            let first = db.backup("/backups").expect("backup");
            let again = db.backup("/backups").expect("backup");
            assert!(first.copied > 0 && again.copied == 0, "{again:?}");
            drop(table);
            db.close().expect("close");
            let backups = BackupDir::open(Arc::clone(&storage) as Arc<dyn Storage>, "/backups").expect("open");
            assert!(backups.verify(again.id).expect("verify").is_empty());
            backups.restore(again.id, "/restored").expect("restore");
            for path in ["/copy", "/restored"] {
                let builder = || builder(&storage, settings(kind, maintenance));
                let db = builder().read_only().open(path).expect("open");
                check(&db.table("people").expect("table"), &INDEXES, None);
                db.close().expect("close");
                let db = builder().open(path).expect("open");
                let table = db.table("people").expect("table");
                table.insert(&batch(&some(30, 60))).expect("insert");
                db.compact().expect("compact");
                check(&table, &INDEXES, None);
                check_sound(&db);
            }
        }
    }
}

#[test]
fn a_lost_manifest_costs_no_index_its_definition() {
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, settings(kind, Maintenance::Eager));
        let table = prepare(&db);
        let by_id = kodiak::IndexDefinition::on("by_id", ["id"]).unique();
        table.create_index(by_id).expect("create an index");
        db.sync().expect("sync");
        let expected = rows(table.read().batches().expect("scan"));
        drop(table);
        db.close().expect("close");
        for name in storage.list(Path::new("/db")).expect("list") {
            if name.starts_with("MANIFEST") || name == "CURRENT" {
                storage.remove(&Path::new("/db").join(name)).expect("remove");
            }
        }
        let report = builder(&storage, settings(kind, Maintenance::Eager)).repair("/db");
        let report = report.expect("repair");
        assert!(report.manifest_rebuilt, "{report}");
        assert!(report.indexes >= 3 && report.indexes_left.is_none(), "{report}");
        let db = open(&storage, settings(kind, Maintenance::Eager));
        let table = db.table("people").expect("table");
        assert_eq!(rows(table.read().batches().expect("scan")), expected);
        check(&table, &INDEXES, None);
        let indexes = table.indexes();
        let unique: Vec<(&str, bool)> = indexes
            .iter()
            .map(|index| (index.name.as_str(), index.definition.unique))
            .collect();
        assert_eq!(unique, [("by_age", false), ("by_id", true), ("by_town", false)]);
        assert!(
            indexes
                .iter()
                .all(|index| index.kind == kind && index.exact && !index.building)
        );
        table.insert(&batch(&some(500, 510))).expect("insert");
        db.flush().expect("flush");
        check(&table, &INDEXES, None);
        check_sound(&db);
    }
}
