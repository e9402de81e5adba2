//! Index files from the command line.

mod support;

use std::sync::Arc;

use kodiak::core::index::{IndexContext, Updates};
use kodiak::core::options::Options;
use kodiak::core::storage::Storage;
use kodiak::{Db, IndexDefinition, LocalStorage, Settings, TableSchema};
use support::Kodiak;

/// An index file with three roots.
fn index(kodiak: &Kodiak, name: &str) -> String {
    let factory = kodiak_indexes::ALL
        .iter()
        .find(|factory| factory.component.name == name)
        .expect("it is built in");
    let file = format!("{name}.index");
    let context = IndexContext {
        storage: Arc::new(LocalStorage::new()),
        path: kodiak.path(&file),
        pool: (factory.pool)(64 << 20),
        options: Options::defaults(factory.component.options),
        upsert: None,
        owner: Vec::new(),
    };
    let index = (factory.create)(context).expect("a new index");
    let mut updates = Updates::new();
    for round in 0..2u32 {
        updates.clear();
        for number in 0..3000u32 {
            updates.put(format!("key {:06}", number * 2 + round).as_bytes(), &[7; 100]);
        }
        index.apply(&updates, None).expect("a sound batch");
        index.commit().expect("space");
    }
    file
}

#[test]
fn an_index_file_is_dumped_and_verified_whatever_made_it() {
    let kodiak = Kodiak::new();
    for name in ["bplus", "fractal"] {
        let file = index(&kodiak, name);
        assert_eq!(
            kodiak.prints(&["index", "verify", &file]),
            format!("{name}, 3 roots: sound\n")
        );
        let dump = kodiak.prints(&["index", "dump", &file]);
        assert!(dump.starts_with(&format!("{name}: roots 1, 2, 3; ")), "{dump}");
        assert!(
            dump.contains("root 3: ") && dump.contains("leaf at ") && dump.contains("key 005999"),
            "{dump}"
        );
        let older = kodiak.prints(&["index", "dump", &file, "--root", "2"]);
        assert!(older.contains("root 2: ") && !older.contains("key 005999"), "{older}");
        assert!(
            kodiak
                .prints(&["index", "dump", &file, "--root", "1"])
                .contains("root 1: empty")
        );
        assert!(
            kodiak
                .refuses(&["index", "dump", &file, "--root", "9"])
                .contains("no root 9")
        );
    }
}

#[test]
fn damage_of_an_index_file_is_reported_with_its_place() {
    let kodiak = Kodiak::new();
    let file = index(&kodiak, "bplus");
    let mut bytes = std::fs::read(kodiak.path(&file)).expect("there");
    bytes[3 * 4096 + 100] ^= 1;
    std::fs::write(kodiak.path(&file), bytes).expect("written");
    let error = kodiak.refuses(&["index", "verify", &file]);
    assert!(error.contains("1 problems") && error.contains(&file), "{error}");
    assert!(
        kodiak
            .refuses(&["index", "verify", "missing.index"])
            .contains("not found")
    );
}

#[test]
fn a_tiny_bench_prints_rows_and_targets() {
    let kodiak = Kodiak::new();
    let printed = kodiak.prints(&[
        "index",
        "bench",
        "--pool",
        "1",
        "--times",
        "1",
        "--memory-entries",
        "2000",
    ]);
    for expected in [
        "bplus",
        "fractal",
        "BTreeMap",
        "random inserts",
        "sorted inserts",
        "in memory: fractal over BTreeMap",
        "with a pool of 1024 KiB",
        "read-modify-writes over a point read and an insert",
        "1x: ",
        " of 6 aims reached",
    ] {
        assert!(printed.contains(expected), "{printed}");
    }
}

#[test]
fn the_index_of_a_database_tells_where_its_keys_are() {
    let kodiak = Kodiak::new();
    for name in ["bplus", "fractal"] {
        let mut settings = Settings::default();
        name.clone_into(&mut settings.index.primary);
        let db = Db::open(kodiak.path(name), settings).expect("open");
        let table = db.create_table("t", TableSchema::key_value()).expect("create");
        table.put("apple", "12").expect("put");
        table.put("pear", "7").expect("put");
        table.delete("apple").expect("delete");
        db.flush().expect("flush");
        table.put("pear", "8").expect("put");
        table.delete("apple").expect("delete");
        db.flush().expect("flush");
        db.close().expect("close");
        let tables = kodiak.path(name).join("tables/000001");
        let files = LocalStorage::new().list(&tables).expect("list");
        let file = files
            .iter()
            .find(|file| file.ends_with(".index"))
            .expect("an index file");
        let file = format!("{name}/tables/000001/{file}");
        let entries = kodiak.prints(&["index", "dump", &file, "--entries"]);
        assert!(
            entries
                .ends_with("\napple in run 3, block 0, row 0: Delete at 5\npear in run 3, block 0, row 1: Put at 4\n"),
            "{entries}"
        );
        let verified = kodiak.prints(&["index", "verify", &file]);
        for said in [entries.lines().next().unwrap_or_default(), &verified] {
            assert!(
                said.starts_with(name)
                    && said.contains(", of \"database ")
                    && said.contains(", table 1, primary index 1\""),
                "{said}"
            );
        }
        assert!(kodiak.prints(&["verify", name]).contains("1 primary indexes"));
        let manifest = kodiak.prints(&["dump", "manifest", name]);
        assert!(
            manifest.contains(&format!("primary index: {name} in 0000000001.index")),
            "{manifest}"
        );
    }
    let standalone = index(&kodiak, "bplus");
    let entries = kodiak.prints(&["index", "dump", &standalone, "--entries", "--root", "2"]);
    assert!(entries.contains("\nkey 000002 \\x07"), "{entries}");
}

#[test]
fn the_secondary_index_of_a_database_tells_which_rows_have_its_keys() {
    let kodiak = Kodiak::new();
    let db = Db::open(kodiak.path("db"), Settings::default()).expect("open");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    table
        .create_index(IndexDefinition::on("by_value", ["value"]))
        .expect("create");
    table.put("apple", "red").expect("put");
    table.put("pear", "green").expect("put");
    db.flush().expect("flush");
    table.put("apple", "green").expect("put");
    db.flush().expect("flush");
    db.close().expect("close");
    let files = LocalStorage::new()
        .list(&kodiak.path("db/tables/000001"))
        .expect("list");
    let file = files
        .iter()
        .find(|file| file.ends_with(".secondary.index"))
        .expect("an index file");
    let entries = kodiak.prints(&["index", "dump", &format!("db/tables/000001/{file}"), "--entries"]);
    let lines: Vec<&str> = entries.lines().skip(1).collect();
    assert_eq!(lines.len(), 3, "{entries}");
    assert!(
        lines[0].contains("green") && lines[0].contains(" of row apple: at 3"),
        "{entries}"
    );
    assert!(
        lines[1].contains("green") && lines[1].contains(" of row pear: at 2"),
        "{entries}"
    );
    assert!(
        lines[2].contains("red") && lines[2].contains(" of row apple: at 1"),
        "{entries}"
    );
}

#[test]
fn what_is_no_index_file_is_refused_saying_so() {
    let kodiak = Kodiak::new();
    let file = index(&kodiak, "fractal");
    let bytes = std::fs::read(kodiak.path(&file)).expect("there");
    let mut newer = bytes.clone();
    for slot in [0, 4096] {
        newer[slot + 8] = 9;
        let crc = crc32fast::hash(&newer[slot..slot + 508]);
        newer[slot + 508..slot + 512].copy_from_slice(&crc.to_le_bytes());
    }
    std::fs::create_dir(kodiak.path("dir")).expect("created");
    let written: [(&str, &[u8], &str); 5] = [
        ("empty", b"", "cut short"),
        ("text", &[b'x'; 20_000], "not an index"),
        ("short", &bytes[..5000], "cut short"),
        ("cut", &bytes[..bytes.len() / 2], "cut short"),
        ("newer", &newer, "version 9"),
    ];
    for (name, bytes, said) in written {
        std::fs::write(kodiak.path(name), bytes).expect("written");
        for command in ["dump", "verify"] {
            let error = kodiak.refuses(&["index", command, name]);
            assert!(
                error.contains(said) && error.contains(name),
                "{command} {name}: {error}"
            );
        }
    }
    for command in ["dump", "verify"] {
        let error = kodiak.refuses(&["index", command, "dir"]);
        assert!(error.contains("directory"), "{command}: {error}");
    }
}

#[test]
fn published_experiments_run_by_name() {
    let kodiak = Kodiak::new();
    let printed = kodiak.prints(&["index", "bench", "--pool", "1", "--experiment", "bt.sequential"]);
    assert!(
        printed.starts_with("bt.sequential: ") && printed.contains("without promotion"),
        "{printed}"
    );
    assert!(printed.trim_end().ends_with("seen"), "{printed}");
    let said = kodiak.misunderstands(&["index", "bench", "--times", "4,0"]);
    assert!(said.contains("--times") && said.contains("1..=1024"), "{said}");
    let refused = kodiak.refuses(&["index", "bench", "--experiment", "bt.nothing"]);
    assert!(
        refused.contains("\"bt.nothing\"") && refused.contains("bt.iibench"),
        "{refused}"
    );
}

#[test]
fn a_table_chooses_its_indexes() {
    let kodiak = Kodiak::new();
    kodiak.prints(&[
        "create",
        "db",
        "a",
        "b",
        "--primary",
        "fractal",
        "--maintenance",
        "eager",
    ]);
    for (key, value) in [("x", "1"), ("y", "2")] {
        kodiak.prints(&["put", "db", "a", key, value]);
    }
    assert_eq!(
        kodiak.prints(&["index", "choose", "db", "a"]),
        "primary index: fractal\ndeletion vectors: off (by default)\nsecondary indexes: fractal (by default)\nmaintenance: eager\n"
    );
    let chosen = [
        "index",
        "choose",
        "db",
        "a",
        "--primary",
        "bplus",
        "--deletion-vectors",
        "on",
        "--maintenance",
        "default",
    ];
    assert_eq!(
        kodiak.prints(&chosen),
        "primary index: bplus\ndeletion vectors: on\nsecondary indexes: fractal (by default)\nmaintenance: lazy (by default)\n"
    );
    assert_eq!(kodiak.prints(&["get", "db", "a", "y"]), "2\n");
    assert!(
        kodiak
            .prints(&["index", "choose", "db", "b"])
            .starts_with("primary index: fractal\n")
    );
    let said = kodiak.refuses(&["index", "choose", "db", "a", "--primary", "fence"]);
    assert!(said.contains("must choose its primary index"), "{said}");
    let said = kodiak.refuses(&["index", "choose", "db", "a", "--maintenance", "sometimes"]);
    assert!(said.contains("lazy, eager or default"), "{said}");
    let said = kodiak.refuses(&["create", "db", "c", "--primary", "btree"]);
    assert!(said.contains("bplus, fractal"), "{said}");
    let dropped = [
        "index",
        "choose",
        "db",
        "a",
        "--primary",
        "fence",
        "--deletion-vectors",
        "default",
    ];
    assert!(
        kodiak
            .prints(&dropped)
            .starts_with("primary index: fence\ndeletion vectors: off (by default)\n")
    );
    let verified = kodiak.prints(&["verify", "db"]);
    assert!(verified.contains("1 primary indexes"), "{verified}");
}
