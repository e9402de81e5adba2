//! Names of tables never become names of files, and files are their owner's alone.

use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path};
use std::sync::Arc;

use kodiak::{Builder, Db, ErrorKind, TableSchema};
use kodiak_tests::factors::small;
use kodiak_tests::outside::storage::NotingStorage;

#[test]
fn names_of_tables_are_any_text_and_never_names_of_files() {
    let long = "x".repeat(255);
    let wide = "\u{1f43b}".repeat(63);
    let names = [
        "..",
        ".",
        "../../outside",
        "/etc/passwd",
        "a/b",
        "nul\0byte",
        "C:\\x",
        "new\nline",
        " ",
        "LOCK",
        "wal",
        "tables",
        "000001",
        "\u{fc}",
        "u\u{308}",
        "\u{202e}",
        &long,
        &wide,
    ];
    let storage = Arc::new(NotingStorage::default());
    let open = || {
        Builder::new(small())
            .storage(storage.clone())
            .open("/db")
            .expect("open")
    };
    let db = open();
    for name in names {
        let table = db.create_table(name, TableSchema::key_value()).expect(name);
        table.put(b"name", name).expect("put");
    }
    db.flush().expect("flush");
    for name in names {
        db.table(name).expect(name).put(b"again", name).expect("put");
    }
    db.compact().expect("compact");
    db.close().expect("close");
    let db = open();
    assert_eq!(db.tables().len(), names.len(), "all differ");
    for name in names {
        let found = db.table(name).expect(name).get(b"name").expect("get");
        assert_eq!(found.as_deref(), Some(name.as_bytes()));
        db.drop_table(name).expect(name);
    }
    drop(db);
    for path in storage.created() {
        assert!(path.starts_with("/db"), "{} is outside", path.display());
        for component in path.components().skip(1) {
            let Component::Normal(part) = component else {
                panic!("{} is not plain", path.display())
            };
            let part = part.to_str().expect("plain letters");
            let plain =
                |letter: char| letter.is_ascii_alphanumeric() || letter == '.' || letter == '-' || letter == '_';
            assert!(
                part.chars().all(plain) && part.len() < 40,
                "{part} is not a name of Kodiak's own"
            );
        }
    }
}

#[test]
fn names_that_are_empty_or_too_long_are_refused() {
    let db = Builder::new(small())
        .storage(Arc::new(NotingStorage::default()))
        .open("/db")
        .expect("open");
    for name in ["", &"x".repeat(256), &"\u{1f43b}".repeat(64)] {
        let error = db.create_table(name, TableSchema::key_value()).expect_err("a bad name");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains("255"), "{error}");
    }
    assert!(db.tables().is_empty());
}

fn check_modes(path: &Path, checked: &mut usize) {
    let mode = std::fs::symlink_metadata(path).expect("metadata").permissions().mode() & 0o7777;
    *checked += 1;
    if path.is_dir() {
        assert_eq!(mode, 0o700, "{}", path.display());
        for entry in std::fs::read_dir(path).expect("a directory") {
            check_modes(&entry.expect("an entry").path(), checked);
        }
    } else {
        assert_eq!(mode, 0o600, "{}", path.display());
    }
}

#[test]
fn files_and_directories_are_for_their_owner_only_whatever_the_umask() {
    let before = rustix::process::umask(rustix::fs::Mode::empty());
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("parent").join("db");
    for _ in 0..2 {
        let db = Db::open(&path, small()).expect("open");
        let table = db.table_or_create("t", TableSchema::key_value()).expect("create");
        (0..2000u32).for_each(|key| table.put(key.to_be_bytes(), [1; 100]).expect("put"));
        db.compact().expect("compact");
        table.put(b"k", b"v").expect("put");
        let mut checked = 0;
        check_modes(&dir.path().join("parent"), &mut checked);
        assert!(checked > 8, "{checked} files and directories");
    }
    rustix::process::umask(before);
}
