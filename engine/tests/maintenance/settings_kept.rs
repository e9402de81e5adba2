//! Settings kept with a database that this program cannot use.

use std::path::{Path, PathBuf};

use kodiak::maintenance::LOST_DIR;
use kodiak::{Builder, ErrorKind, IndexDefinition, Settings, TableSchema};

use super::common::*;

/// A closed database with an index, of which the settings kept with it name something that nobody knows in a line.
fn with_settings(dir: &Path, line: &str) -> PathBuf {
    let mut settings = small();
    // The rows stay in the log.
    settings.memtable.size = 1 << 20;
    let db = Builder::new(settings).open(dir).expect("open");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    let by_value = IndexDefinition::on("by_value", ["value"]);
    table.create_index(by_value).expect("index");
    for key in 0..500u32 {
        table.put(key.to_be_bytes(), [7; 300]).expect("put");
    }
    drop(table);
    db.close().expect("close");
    let file = dir.join("SETTINGS.toml");
    let text = std::fs::read_to_string(&file).expect("settings");
    let (key, _) = line.split_once(" = ").expect("a setting");
    assert!(text.contains(line), "{text}");
    std::fs::write(&file, text.replacen(line, &format!("{key} = \"zzz\""), 1)).expect("written");
    file
}

/// Settings, the lines that say them, and a name that there is.
const UNKNOWN: [(&str, &str, &str); 5] = [
    ("memtable.kind", "kind = \"sorted\"", "skiplist"),
    ("format.kind", "kind = \"feather\"", "parquet"),
    ("secondary.kind", "kind = \"fractal\"", "bplus"),
    ("compaction.preset", "preset = \"leveled\"", "leveled"),
    ("wal.kind", "kind = \"mapped\"", "segment"),
];

#[test]
fn what_the_kept_settings_name_and_nobody_knows_is_told_with_file_line_and_choices() {
    for (setting, line, known) in UNKNOWN {
        let dir = tempfile::tempdir().expect("a directory");
        let file = with_settings(dir.path(), line);
        let stored = Settings::from_file(&file).expect("readable");
        let text = std::fs::read_to_string(&file).expect("settings");
        let at = text.lines().position(|line| line.contains("zzz")).expect("a line") + 1;
        for builder in [Builder::new(stored.clone()), Builder::new(stored.clone()).read_only()] {
            let error = builder.open(dir.path()).expect_err(setting);
            assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{error}");
            assert_eq!(error.setting(), Some(setting), "{error}");
            assert_eq!(error.file(), Some(&*file), "{error}");
            for told in [known, "\"zzz\"", &format!("line {at} "), "with other settings"] {
                assert!(error.message().contains(told), "{told}: {error}");
            }
        }
        // Settings of the program itself are no fault of the file.
        let mut own = stored;
        own.set("limits.max_key", "1KiB").expect("a size");
        own.set("memtable.kind", "yyy").expect("a name");
        if setting == "memtable.kind" {
            let error = Builder::new(own).open(dir.path()).expect_err("unknown");
            assert_eq!(error.file(), None, "{error}");
        }
    }
}

#[test]
fn damage_is_found_and_mended_without_components_that_it_does_not_take() {
    for (setting, line, _) in UNKNOWN {
        // With the settings of the database, and with others.
        for given in [true, false] {
            for damaged in [true, false] {
                let what = format!("{setting}, given: {given}, damaged: {damaged}");
                let dir = tempfile::tempdir().expect("a directory");
                let file = with_settings(dir.path(), line);
                let kept = std::fs::read(&file).expect("settings");
                let builder = || match given {
                    true => Builder::new(Settings::from_file(&file).expect("readable")),
                    false => Builder::new(small()),
                };
                if damaged {
                    let log = dir.path().join("wal");
                    let mut segments: Vec<_> = std::fs::read_dir(&log).expect("log").collect();
                    segments.sort_by_key(|entry| entry.as_ref().expect("entry").path());
                    let last = segments.pop().expect("a segment").expect("entry").path();
                    std::fs::remove_file(last).expect("removed");
                }
                if setting == "wal.kind" && given {
                    for error in [
                        builder().verify(dir.path()).map(drop).expect_err("no log"),
                        builder().repair(dir.path()).map(drop).expect_err("no log"),
                    ] {
                        assert_eq!(error.file(), Some(&*file), "{error}");
                        assert!(error.message().contains("the log cannot be read without it"), "{error}");
                    }
                    continue;
                }
                let found = builder().verify(dir.path()).expect(&what);
                assert_eq!(found.is_clean(), !damaged, "{what}: {found}");
                assert_eq!(found.settings_passed_over.len(), usize::from(given), "{what}: {found}");
                let report = builder().repair(dir.path()).expect(&what);
                assert_eq!(report.problems.len(), usize::from(damaged), "{what}: {report}");
                let passed_over = &report.settings_passed_over;
                if setting == "secondary.kind" && !damaged {
                    let left = report.indexes_left.as_ref().expect(&what);
                    assert_eq!((left.setting(), left.file()), (Some(setting), Some(&*file)), "{what}");
                } else {
                    assert_eq!((passed_over.len(), report.indexes), (1, 1), "{what}: {report}");
                    assert_eq!(passed_over[0].setting(), Some(setting), "{what}");
                    assert!(
                        report.to_string().contains("passed over, and left as it is"),
                        "{report}"
                    );
                }
                assert_eq!(std::fs::read(&file).expect("settings"), kept, "{what}");
                assert!(!dir.path().join(LOST_DIR).join("SETTINGS.toml").exists(), "{what}");
                let db = Builder::new(small()).existing().open(dir.path()).expect(&what);
                assert_eq!(contents(&db)["t"].len() == 500, !damaged, "{what}");
            }
        }
    }
}
