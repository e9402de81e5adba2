//! Components from outside are found by name and work; what cannot work is refused before anything is touched.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kodiak::core::options::Options;
use kodiak::core::storage::Storage;
use kodiak::{Builder, Components, Db, Error, ErrorKind, MemoryStorage, ScanOptions, Settings, TableSchema};
use kodiak_core::conformance::index::Subject;
use kodiak_tests::factors::small;
use kodiak_tests::generate::Generator;
use kodiak_tests::history::Op;
use kodiak_tests::model::{Kind, TABLES};
use kodiak_tests::outside;
use kodiak_tests::runner::{Setup, run};

/// Kodiak's own components, and one of each family from outside.
fn components() -> Components {
    let mut components = Components::new();
    components
        .register_memtable(&outside::memtable::FACTORY)
        .expect("a free name");
    components
        .register_format(&outside::format::FACTORY)
        .expect("a free name");
    components.register_wal(&outside::wal::FACTORY).expect("a free name");
    components
        .register_filter(&outside::filter::FACTORY)
        .expect("a free name");
    components
        .register_index(&outside::index::FACTORY)
        .expect("a free name");
    components
        .register_policy(&outside::policy::FACTORY)
        .expect("a free name");
    components
}

fn check(toml: &str) -> Setup {
    let picked = Settings::from_toml(toml).expect("valid");
    let mut settings = small();
    settings.memtable.kind = picked.memtable.kind;
    settings.format.kind = picked.format.kind;
    settings.format.levels = picked.format.levels;
    settings.wal.kind = picked.wal.kind;
    settings.filter.kind = picked.filter.kind;
    settings.filter.options = picked.filter.options;
    settings.index = picked.index;
    settings.compaction.preset = picked.compaction.preset;
    settings.compaction.options = picked.compaction.options;
    let setup = Setup {
        components: components(),
        ..Setup::new(settings)
    };
    let bytes_only = toml.contains("list");
    let typed = |table: usize| matches!(TABLES[table].1, Kind::Typed | Kind::Composite);
    // The format from outside holds no typed columns, and says so when such a table is created.
    let wanted = |op: &Op| !(bytes_only && matches!(op, Op::CreateTable(table) if typed(*table)));
    let ops: Vec<Op> = Generator::new(11).take(1500).filter(wanted).collect();
    if let Err(failure) = run(&ops, &setup) {
        panic!("{toml}: {failure}");
    }
    setup
}

#[test]
fn a_memtable_from_outside_works() {
    check("[memtable]\nkind = \"btree\"");
}

#[test]
fn a_memtable_from_outside_passes_the_conformance_suite() {
    kodiak_core::conformance::memtable::all(&outside::memtable::FACTORY);
}

#[test]
fn a_format_from_outside_works_on_all_levels_and_on_some() {
    check("[format]\nkind = \"list\"");
    check("[[format.levels]]\nfrom = 1\nkind = \"list\"");
}

#[test]
fn a_log_from_outside_works() {
    let before = outside::wal::APPENDS.load(Ordering::Relaxed);
    check("[wal]\nkind = \"counting\"");
    assert!(
        outside::wal::APPENDS.load(Ordering::Relaxed) > before + 200,
        "batches went through it"
    );
}

#[test]
fn a_filter_from_outside_works() {
    check("[filter]\nkind = \"exact\"\nallocation = \"uniform\"\ncopies = 2");
}

#[test]
fn an_index_from_outside_works() {
    check("[index]\nprimary = \"map\"");
}

#[test]
fn an_index_from_outside_passes_the_conformance_suite() {
    kodiak_core::conformance::index::check(&Subject {
        factory: &outside::index::FACTORY,
        options: Options::default(),
        pool: 0,
        storage: || {
            let storage = MemoryStorage::new();
            storage.create_dir_all(Path::new("/indexes")).expect("a directory");
            (Arc::new(storage), "/indexes".into())
        },
    });
}

#[test]
fn a_policy_from_outside_works() {
    check("[compaction]\npreset = \"everything\"\nat = 2");
}

#[test]
fn all_components_from_outside_work_together() {
    check(
        "[memtable]\nkind = \"btree\"\n[format]\nkind = \"list\"\n[wal]\nkind = \"counting\"\n\
         [filter]\nkind = \"exact\"\n[index]\nprimary = \"map\"\n[compaction]\npreset = \"everything\"",
    );
}

#[test]
fn a_storage_from_outside_works() {
    let storage = Arc::new(outside::storage::NotingStorage::default());
    let open = || {
        Builder::new(small())
            .storage(storage.clone())
            .open("/db")
            .expect("open")
    };
    let db = open();
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    (0..3000u32).for_each(|key| table.put(key.to_be_bytes(), [7; 100]).expect("put"));
    db.compact().expect("compact");
    drop(table);
    db.close().expect("close");
    let table = open().table("t").expect("table");
    assert_eq!(table.scan_with(ScanOptions::new(..).rev()).expect("scan").count(), 3000);
    assert!(storage.created().len() > 5);
}

#[test]
fn a_database_says_what_it_needs_when_a_component_from_outside_is_missing() {
    let storage = Arc::new(MemoryStorage::new());
    let mut settings = small();
    settings.format.kind = "list".to_owned();
    let db = Builder::new(settings.clone())
        .components(components())
        .storage(storage.clone())
        .open("/db")
        .expect("open");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    table.put(b"k", b"v").expect("put");
    db.flush().expect("flush");
    drop(table);
    db.close().expect("close");
    let refused = Builder::new(settings)
        .storage(storage.clone())
        .open("/db")
        .expect_err("list is unknown");
    assert_eq!(refused.kind(), ErrorKind::InvalidSettings, "{refused}");
    assert!(refused.to_string().contains("feather"), "{refused}");
    // With settings that name only Kodiak's own, the run that is there is still in the other format.
    let opened = Builder::new(small()).storage(storage).open("/db");
    let error = match opened {
        Err(error) => error,
        Ok(db) => db
            .table("t")
            .expect("table")
            .get(b"k")
            .expect_err("the run cannot be read"),
    };
    assert!(error.to_string().contains("list"), "{error}");
}

#[test]
fn a_table_that_a_format_cannot_hold_is_refused_naming_column_and_type() {
    let mut settings = small();
    settings.format.kind = "list".to_owned();
    let db = Builder::new(settings)
        .components(components())
        .storage(Arc::new(MemoryStorage::new()))
        .open("/db")
        .expect("open");
    let error = db
        .create_table("t", kodiak_tests::model::Kind::Typed.schema())
        .expect_err("numbers");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        error.to_string().contains("number") && error.to_string().contains("Int64"),
        "{error}"
    );
    assert!(db.tables().is_empty());
}

/// Opens with these settings, which must fail, and makes sure that nothing was touched.
fn refused(toml: &str) -> Error {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("below").join("db");
    let opened = Settings::from_toml(toml).and_then(|settings| Db::open(&path, settings));
    let error = opened.expect_err(toml);
    assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{toml}: {error}");
    assert!(!dir.path().join("below").exists(), "{toml}: the disk was touched");
    error
}

#[test]
fn unknown_names_list_the_known_ones() {
    let known = Components::new();
    for described in known.describe() {
        let (section, key) = described.setting.split_once('.').expect("dotted");
        let error = refused(&format!("[{section}]\n{key} = \"no-such-thing\""));
        assert_eq!(error.setting(), Some(described.setting));
        assert!(
            error.message().contains(described.name),
            "{error} does not list {}",
            described.name
        );
        assert!(error.message().contains("no-such-thing"), "{error}");
    }
}

#[test]
fn unknown_sections_settings_and_options_are_refused() {
    for (toml, needles) in [
        ("[memtabel]\nkind = \"trie\"", ["memtabel", "memtable"]),
        ("[cache]\nsize = 1", ["cache.size", "capacity"]),
        ("[memtable]\nkind = \"trie\"\nbuckets = 3", ["memtable.buckets", "trie"]),
        (
            "[compaction]\npreset = \"tiered\"\nl0_trigger = 3",
            ["compaction.l0_trigger", "run_trigger"],
        ),
        ("[[format.levels]]\nfrom = 1\nlevel = 3", ["level", "from"]),
        ("preset = \"fast\"", ["preset", "read-heavy"]),
        ("speed = 3", ["speed", "memtable"]),
    ] {
        let error = refused(toml);
        for needle in needles {
            assert!(
                error.to_string().contains(needle),
                "{toml}: {error} does not name {needle}"
            );
        }
    }
}

#[test]
fn values_of_the_wrong_kind_or_size_say_what_is_allowed() {
    for (toml, setting, allowed) in [
        ("[memtable]\nsize = \"1KiB\"", "memtable.size", "64KiB"),
        ("[memtable]\nsize = true", "memtable.size", "size"),
        ("[wal]\nsync = \"always\"", "wal.sync", "none, normal, full"),
        ("[compaction]\nlevels = 1", "compaction.levels", "2"),
        ("[filter]\nbits_per_key = -1", "filter.bits_per_key", "0"),
        ("[metrics]\nenabled = 1", "metrics.enabled", "true or false"),
        ("memtable = 3", "memtable", "not an integer"),
        ("[memtable]\nsize = [1]", "memtable.size", "not an array"),
    ] {
        let error = refused(toml);
        assert_eq!(error.setting(), Some(setting), "{error}");
        assert!(
            error.to_string().contains(allowed),
            "{toml}: {error} does not say {allowed}"
        );
    }
}

#[test]
fn combinations_that_cannot_work_name_both_settings_and_the_choices() {
    for (toml, needles) in [
        (
            "[wal]\nkind = \"none\"\nsync = \"full\"",
            ["wal.sync", "wal.kind", "segment"],
        ),
        (
            "[filter]\nkind = \"binary-fuse\"\nallocation = \"monkey\"",
            ["filter.allocation", "filter.kind", "bloom"],
        ),
        (
            "[filter]\nkind = \"none\"\nprefix = 4",
            ["filter.prefix", "filter.kind", "none"],
        ),
        (
            "[filter]\nprefix = 100\n[limits]\nmax_key = 50",
            ["filter.prefix", "limits.max_key", "50"],
        ),
        (
            "[backpressure]\nl0_slowdown = 1",
            ["backpressure.l0_slowdown", "compaction.preset", "4"],
        ),
        (
            "[backpressure]\nl0_slowdown = 30\nl0_stop = 20",
            ["backpressure.l0_stop", "backpressure.l0_slowdown", "20"],
        ),
        (
            "[limits]\nmemory_budget = \"16MiB\"",
            ["limits.memory_budget", "memtable.size", "cache.capacity"],
        ),
        (
            "[compaction]\nlevels = 3\n[[format.levels]]\nfrom = 3",
            ["format.levels[0].from", "compaction.levels", "2"],
        ),
    ] {
        let error = refused(toml);
        for needle in needles {
            assert!(
                error.to_string().contains(needle),
                "{toml}: {error} does not name {needle}"
            );
        }
    }
}

#[test]
fn a_refusal_leaves_an_existing_database_as_it_is() {
    let storage = Arc::new(MemoryStorage::new());
    let db = Builder::new(small())
        .storage(storage.clone())
        .open("/db")
        .expect("open");
    db.create_table("t", TableSchema::key_value())
        .expect("create")
        .put(b"k", b"v")
        .expect("put");
    db.close().expect("close");
    let before = storage.list(Path::new("/db")).expect("a directory");
    let mut settings = small();
    settings.memtable.kind = "heap".to_owned();
    let error = Builder::new(settings)
        .storage(storage.clone())
        .open("/db")
        .expect_err("unknown");
    assert_eq!(error.setting(), Some("memtable.kind"));
    assert_eq!(storage.list(Path::new("/db")).expect("a directory"), before);
    let db = Builder::new(small()).storage(storage).open("/db").expect("open again");
    assert_eq!(
        db.table("t").expect("table").get(b"k").expect("get").as_deref(),
        Some(&b"v"[..])
    );
}
