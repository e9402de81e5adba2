//! Index files say which database, table and index they are of.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kodiak::core::storage::Storage;
use kodiak::maintenance::{BackupDir, VerifyReport};
use kodiak::{Builder, Error, ErrorKind, IndexDefinition, MemoryStorage, TableSchema};
use kodiak_indexes::IndexFile;

use super::common::*;

const KINDS: [&str; 2] = ["bplus", "fractal"];

fn builder_of(storage: &Arc<MemoryStorage>, kind: &str) -> Builder {
    let mut settings = small();
    kind.clone_into(&mut settings.index.primary);
    kind.clone_into(&mut settings.secondary.kind);
    kind.clone_into(&mut settings.index.catalogue);
    settings.index.catalogue_changes = 1;
    Builder::new(settings).storage(Arc::clone(storage) as Arc<dyn Storage>)
}

/// A database of two tables with the same keys and an index each; `salt` chooses the values.
fn make(storage: &Arc<MemoryStorage>, kind: &str, path: &str, salt: &str) -> Contents {
    let db = builder_of(storage, kind).open(path).expect("open");
    for name in ["a", "b"] {
        let table = db.create_table(name, TableSchema::key_value()).expect("create");
        table
            .create_index(IndexDefinition::on("by_value", ["value"]))
            .expect("index");
        for key in 0..200 {
            table
                .put(format!("key {key:03}"), format!("{salt} {name} {key}"))
                .expect("put");
        }
        db.flush().expect("flush");
    }
    let expected = contents(&db);
    db.close().expect("close");
    // Puts the runs into the catalogue.
    let db = builder_of(storage, kind).open(path).expect("open");
    db.close().expect("close");
    expected
}

/// The primary and the secondary index of a table.
fn indexes(storage: &MemoryStorage, path: &str, table: u32) -> [PathBuf; 2] {
    let files = table_files(storage, &format!("{path}/tables/{table:06}"), ".index");
    let (secondary, primary): (Vec<_>, Vec<_>) = files
        .into_iter()
        .partition(|file| file.to_string_lossy().ends_with(".secondary.index"));
    let ([primary], [secondary]) = (&*primary, &*secondary) else {
        panic!("{primary:?} and {secondary:?} are not one index each")
    };
    [primary.clone(), secondary.clone()]
}

fn read(storage: &dyn Storage, path: &Path) -> Vec<u8> {
    let file = storage.open(path).expect("open");
    file.read(0, file.len() as usize).expect("read").to_vec()
}

fn swap(storage: &dyn Storage, one: &Path, other: &Path) {
    let (first, second) = (read(storage, one), read(storage, other));
    overwrite(storage, one, &second);
    overwrite(storage, other, &first);
}

fn owner(storage: &dyn Storage, path: &Path) -> String {
    let file = IndexFile::open(storage, path).expect("a sound file");
    String::from_utf8(file.owner()).expect("a text")
}

/// Of each file it is told that it belongs to another.
fn assert_told(report: &VerifyReport, files: &[PathBuf]) {
    for file in files {
        let told = |problem: &&Error| problem.file() == Some(file) && problem.message().contains("the file belongs to");
        assert!(
            report.problems.iter().any(|problem| told(&problem)),
            "{file:?}: {report}"
        );
    }
    assert_eq!(report.problems.len(), files.len(), "{report}");
}

#[test]
fn index_files_of_another_table_are_told_and_not_read() {
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        let expected = make(&storage, kind, "/db", "of");
        for mended_by in ["repair", "opening"] {
            let tables = [1, 2].map(|table| indexes(&storage, "/db", table));
            let [[one, one_secondary], [other, other_secondary]] = &tables;
            swap(&*storage, one, other);
            swap(&*storage, one_secondary, other_secondary);
            assert_told(
                &builder_of(&storage, kind).verify("/db").expect("verify"),
                &tables.concat(),
            );
            let db = builder_of(&storage, kind).read_only().open("/db").expect("open");
            assert!(contents(&db) == expected, "{kind}");
            assert!(db.stats().tables.iter().all(|table| table.index.is_none()), "{kind}");
            drop(db);
            if mended_by == "repair" {
                let report = builder_of(&storage, kind).repair("/db").expect("repair");
                assert!(report.indexes == 4 && !report.manifest_rebuilt, "{report}");
            } else {
                let db = builder_of(&storage, kind).open("/db").expect("open");
                assert!(contents(&db) == expected, "{kind}");
                db.close().expect("close");
            }
            let report = builder_of(&storage, kind).verify("/db").expect("verify");
            assert!(
                report.is_clean() && report.indexes == 2,
                "{kind}, {mended_by}: {report}"
            );
            let db = builder_of(&storage, kind).read_only().open("/db").expect("open");
            assert!(contents(&db) == expected, "{kind}");
            assert!(db.stats().tables.iter().all(|table| table.index.is_some()), "{kind}");
        }
    }
}

#[test]
fn index_files_of_another_database_are_told_and_not_read() {
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        let expected = make(&storage, kind, "/db", "of");
        make(&storage, kind, "/other", "of another");
        let files = [indexes(&storage, "/db", 1), indexes(&storage, "/db", 2)].concat();
        for file in &files {
            let other = Path::new("/other").join(file.strip_prefix("/db").expect("within"));
            overwrite(&*storage, file, &read(&*storage, &other));
        }
        assert_told(&builder_of(&storage, kind).verify("/db").expect("verify"), &files);
        for read_only in [true, false] {
            let builder = builder_of(&storage, kind);
            let builder = if read_only { builder.read_only() } else { builder };
            let db = builder.open("/db").expect("open");
            assert!(contents(&db) == expected, "{kind}");
            db.close().expect("close");
        }
        let report = builder_of(&storage, kind).verify("/db").expect("verify");
        assert!(report.is_clean() && report.indexes == 2, "{kind}: {report}");
    }
}

#[test]
fn the_catalogue_of_another_database_is_refused_and_one_repair_mends() {
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        let expected = make(&storage, kind, "/db", "of");
        make(&storage, kind, "/other", "of another");
        let [file, other] = ["/db", "/other"].map(|dir| {
            let [file] = &*table_files(&*storage, dir, "")
                .into_iter()
                .filter(|path| is_catalogue(path))
                .collect::<Vec<_>>()
            else {
                panic!("there is not one catalogue")
            };
            file.clone()
        });
        assert_eq!(file.file_name(), other.file_name());
        overwrite(&*storage, &file, &read(&*storage, &other));
        let refused = |error: &Error| {
            assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
            assert_eq!(error.file(), Some(&*file), "{error}");
            assert!(error.message().contains("the file belongs to \"database "), "{error}");
        };
        let report = builder_of(&storage, kind).verify("/db").expect("verify");
        refused(&report.problems[0]);
        refused(&builder_of(&storage, kind).open("/db").expect_err("another's"));
        refused(
            &builder_of(&storage, kind)
                .read_only()
                .open("/db")
                .expect_err("another's"),
        );
        let report = builder_of(&storage, kind).repair("/db").expect("repair");
        assert!(report.manifest_rebuilt, "{report}");
        let report = builder_of(&storage, kind).verify("/db").expect("verify");
        assert!(report.is_clean(), "{kind}: {report}");
        let db = builder_of(&storage, kind).open("/db").expect("open");
        assert!(contents(&db) == expected, "{kind}");
    }
}

fn is_catalogue(path: &Path) -> bool {
    path.to_string_lossy().contains("/CATALOGUE-")
}

#[test]
fn copies_have_the_index_files_of_their_database() {
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        make(&storage, kind, "/db", "of");
        let db = builder_of(&storage, kind).open("/db").expect("open");
        db.checkpoint("/copy").expect("checkpoint");
        let backup = db.backup("/backups").expect("backup");
        db.close().expect("close");
        let backups = BackupDir::open(Arc::clone(&storage) as Arc<dyn Storage>, "/backups").expect("open");
        backups.restore(backup.id, "/restored").expect("restore");
        for table in [1, 2] {
            let [primary, secondary] = indexes(&storage, "/db", table).map(|file| owner(&*storage, &file));
            assert!(
                primary.starts_with("database ") && primary.contains(&format!(", table {table}, primary index ")),
                "{primary}"
            );
            assert!(
                secondary.contains(&format!(", table {table}, secondary index ")),
                "{secondary}"
            );
            for copy in ["/copy", "/restored"] {
                let copied = indexes(&storage, copy, table).map(|file| owner(&*storage, &file));
                assert_eq!(copied, [primary.clone(), secondary.clone()], "{kind}, {copy}");
            }
        }
        for copy in ["/copy", "/restored"] {
            let [one, other] = [1, 2].map(|table| indexes(&storage, copy, table));
            swap(&*storage, &one[0], &other[0]);
            let report = builder_of(&storage, kind).verify(copy).expect("verify");
            assert_told(&report, &[one[0].clone(), other[0].clone()]);
        }
    }
}
