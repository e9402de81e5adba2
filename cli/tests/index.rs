//! Index files from the command line.

mod support;

use std::sync::Arc;

use kodiak::LocalStorage;
use kodiak::core::index::{IndexContext, Updates};
use kodiak::core::options::Options;
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
    ] {
        assert!(printed.contains(expected), "{printed}");
    }
}
