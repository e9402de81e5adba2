//! Tables that choose their indexes for themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kodiak::core::storage::Storage;
use kodiak::settings::Maintenance;
use kodiak::{Builder, Db, ErrorKind, IndexDefinition, IndexOptions, MemoryStorage, TableOptions, TableSchema};

use crate::common::{contents, crash_everywhere, table_files};
use crate::support::{index_files, key, overlapping_runs, settings, table};

/// Opens a database whose tables have `kind` unless they choose; in the pool any of them does.
fn open(storage: &Arc<impl Storage + 'static>, kind: &str) -> Db {
    builder(storage, kind).open("/db").expect("open")
}

fn builder(storage: &Arc<impl Storage + 'static>, kind: &str) -> Builder {
    let mut settings = settings(kind);
    settings.index.pool = 64 << 20;
    Builder::new(settings).storage(Arc::clone(storage) as Arc<dyn Storage>)
}

/// What each table has for a primary index, and whether it has deletion vectors.
fn roles(db: &Db) -> Vec<(String, bool)> {
    let tables = db.stats().tables.into_iter();
    tables
        .map(|table| {
            let kind = table.index.map_or("fence".to_owned(), |(kind, _)| kind);
            (kind, table.deletion_vectors)
        })
        .collect()
}

fn check_sound(db: &Db) {
    let report = db.verify().expect("verify");
    assert!(report.is_clean(), "{report}");
}

#[test]
fn each_table_has_what_it_was_created_with_whatever_the_settings_say() {
    let storage = Arc::new(MemoryStorage::new());
    let choices = [
        ("a", IndexOptions::new()),
        ("b", IndexOptions::new().primary("bplus").deletion_vectors(true)),
        ("c", IndexOptions::new().primary("fractal")),
        ("d", IndexOptions::new().primary("fence")),
    ];
    let mut expected = None;
    for setting in ["fence", "bplus", "fractal", "fence"] {
        let db = open(&storage, setting);
        if db.tables().is_empty() {
            for (name, own) in &choices {
                let options = TableOptions::new().indexes(own.clone());
                let created = db.create_table_with(name, TableSchema::key_value(), options);
                overlapping_runs(&created.expect("create"), &db, 2);
            }
        }
        let found = roles(&db);
        let kinds: Vec<&str> = found.iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(kinds, [setting, "bplus", "fractal", "fence"]);
        let vectors: Vec<bool> = found.iter().map(|(_, vectors)| *vectors).collect();
        assert_eq!(vectors, [false, true, false, false]);
        for (name, own) in &choices {
            assert_eq!(db.table(name).expect("table").options().get_indexes(), own);
        }
        check_sound(&db);
        assert!(
            *expected.get_or_insert_with(|| contents(&db)) == contents(&db),
            "{setting}"
        );
        db.close().expect("close");
    }
}

#[test]
fn a_choice_builds_and_drops_indexes_while_others_write() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "fence");
    let table = table(&db);
    overlapping_runs(&table, &db, 3);
    let old = db.snapshot();
    let before = table.get(key(7)).expect("get");
    let stop = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut round = 0u32;
            while !stop.load(Ordering::Relaxed) {
                let number = round % 200;
                table.put(key(number), format!("round {round}")).expect("put");
                if round % 50 == 49 {
                    table.delete(key(199)).expect("delete");
                    db.flush().expect("flush");
                }
                round += 1;
            }
            round
        });
        for round in 0..3 {
            for (kind, vectors) in [
                ("bplus", true),
                ("fractal", true),
                ("fractal", false),
                ("bplus", false),
                ("fence", false),
            ] {
                let own = IndexOptions::new().primary(kind).deletion_vectors(vectors);
                table.set_indexes(own.clone()).expect("choose");
                assert_eq!(table.options().get_indexes(), &own);
                assert_eq!(roles(&db), [(kind.to_owned(), vectors)], "round {round}");
                assert_eq!(index_files(&*storage).len(), usize::from(kind != "fence"));
                assert_eq!(table.get_at(&old, key(7)).expect("get"), before);
                check_sound(&db);
            }
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("the writer")
    });
    assert!(written > 0);
    table
        .set_indexes(IndexOptions::new().primary("bplus").deletion_vectors(true))
        .expect("choose");
    let expected = contents(&db);
    db.compact().expect("compact");
    assert!(contents(&db) == expected);
    assert_eq!(table.get_at(&old, key(7)).expect("get"), before);
    check_sound(&db);
    // Nothing chosen: as the settings say.
    table.set_indexes(IndexOptions::new()).expect("choose");
    assert_eq!(roles(&db), [("fence".to_owned(), false)]);
    db.close().expect("close");
    let db = open(&storage, "fractal");
    assert_eq!(roles(&db), [("fractal".to_owned(), false)]);
    assert!(contents(&db) == expected);
}

#[test]
fn a_crash_while_a_table_chooses_leaves_it_as_before_or_as_chosen() {
    for (before, after) in [("fence", "bplus"), ("fractal", "bplus"), ("bplus", "fence")] {
        let own = |kind: &str| {
            let own = IndexOptions::new().primary(kind).maintenance(Maintenance::Eager);
            let own = own.secondary(if kind == before { "fractal" } else { "bplus" });
            if kind == "fence" {
                own
            } else {
                own.deletion_vectors(true)
            }
        };
        crash_everywhere(
            |storage| {
                let db = open(storage, "fence");
                let options = TableOptions::new().indexes(own(before));
                let table = db
                    .create_table_with("t", TableSchema::key_value(), options)
                    .expect("create");
                table
                    .create_index(IndexDefinition::on("by_value", ["value"]))
                    .expect("create an index");
                overlapping_runs(&table, &db, 2);
                db
            },
            |db| db.table("t").expect("table").set_indexes(own(after)).expect("choose"),
            |image, nth| {
                let db = open(image, "fence");
                let table = db.table("t").expect("table");
                let chosen = table.options().get_indexes().clone();
                assert!(chosen == own(before) || chosen == own(after), "crash {nth}: {chosen:?}");
                let kind = chosen.primary.clone().expect("chosen");
                assert_eq!(roles(&db), [(kind.clone(), kind != "fence")], "crash {nth}");
                let secondary = &table.indexes()[0];
                assert_eq!(
                    (Some(&secondary.kind), secondary.exact),
                    (chosen.secondary.as_ref(), true)
                );
                assert_eq!(contents(&db)["t"].len(), 200, "crash {nth}");
                let found = table.index("by_value").expect("index").entries().expect("read");
                assert_eq!(found.count(), 200, "crash {nth}");
                check_sound(&db);
                drop(table);
                db.close().expect("close");
                let report = builder(image, "fence").verify("/db").expect("verify");
                assert!(report.is_clean(), "crash {nth}: {report}");
            },
        );
    }
}

#[test]
fn secondary_indexes_are_built_anew_as_a_table_chooses() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "fence");
    let table = table(&db);
    table
        .create_index(IndexDefinition::on("by_value", ["value"]))
        .expect("create an index");
    overlapping_runs(&table, &db, 2);
    table.put(key(3), "in memory").expect("put");
    let old = db.snapshot();
    table.put(key(4), "newer").expect("put");
    let find = || {
        let now = table.index("by_value").expect("index").entries().expect("read").count();
        let then = table.index("by_value").expect("index").at(&old);
        let then: Vec<_> = then.entries().expect("read").collect::<Result<_, _>>().expect("read");
        assert!(then.iter().any(|(key, value)| key == "key00004" && value != "newer"));
        (now, then.len())
    };
    assert_eq!(find(), (200, 200));
    for (kind, maintenance) in [
        ("bplus", Maintenance::Eager),
        ("bplus", Maintenance::Lazy),
        ("fractal", Maintenance::Lazy),
        ("fractal", Maintenance::Eager),
    ] {
        let own = IndexOptions::new().secondary(kind).maintenance(maintenance);
        table.set_indexes(own).expect("choose");
        assert_eq!(find(), (200, 200), "{kind}, {maintenance:?}");
        table.put(key(5), format!("as {kind}, {maintenance:?}")).expect("put");
        db.flush().expect("flush");
        assert_eq!(find(), (200, 200), "{kind}, {maintenance:?}");
        let index = &table.indexes()[0];
        assert_eq!(
            (index.kind.as_str(), index.exact),
            (kind, maintenance == Maintenance::Eager)
        );
        check_sound(&db);
        let files = table_files(&*storage, "/db/tables/000001", ".secondary.index");
        assert_eq!(files.len(), 1, "{files:?}");
    }
}

#[test]
fn a_choice_that_cannot_work_is_refused_and_changes_nothing() {
    let storage = Arc::new(MemoryStorage::new());
    let db = crate::support::open(&storage, "bplus");
    let table = table(&db);
    let refused = |own: IndexOptions, setting: &str, said: &str| {
        let name = own.primary.clone().unwrap_or_default();
        let options = TableOptions::new().indexes(own.clone());
        let created = db.create_table_with(&name, TableSchema::key_value(), options);
        for error in [table.set_indexes(own).expect_err(said), created.expect_err(said)] {
            assert_eq!(
                (error.kind(), error.setting()),
                (ErrorKind::InvalidSettings, Some(setting)),
                "{error}"
            );
            assert!(error.message().contains(said), "{error}");
        }
    };
    refused(IndexOptions::new().primary("btree"), "index.primary", "bplus, fractal");
    refused(
        IndexOptions::new().primary("x").secondary("y"),
        "index.primary",
        "table \"",
    );
    refused(
        IndexOptions::new().primary("bplus").secondary("y"),
        "secondary.kind",
        "fractal",
    );
    refused(
        IndexOptions::new().primary("fence").deletion_vectors(true),
        "index.deletion_vectors",
        "must choose its primary index",
    );
    // With the options of its own, which are not those that the settings have for another.
    refused(IndexOptions::new().primary("fractal"), "index.pool", "too small");
    assert_eq!(db.tables(), ["t"]);
    assert_eq!(table.options().get_indexes(), &IndexOptions::new());
    assert_eq!(roles(&db), [("bplus".to_owned(), false)]);
    db.drop_table("t").expect("drop");
    let error = table
        .set_indexes(IndexOptions::new().primary("fence"))
        .expect_err("dropped");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
