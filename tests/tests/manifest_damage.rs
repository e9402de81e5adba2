//! Damage to the files that say what a database consists of: it must be told, with the file's name, and never be taken for a
//! database that holds less.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kodiak::core::storage::Storage;
use kodiak::{Builder, ErrorKind, MemoryStorage, Settings, TableSchema};
use kodiak_core::conformance::extent;
use kodiak_tests::crash::model::Found;
use kodiak_tests::crash::script::DIR;
use kodiak_tests::crash::verify::read_all;

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.memtable.size = 64 << 10;
    settings.wal.segment_size = 64 << 10;
    settings.cache.capacity = 1 << 20;
    settings.metrics.enabled = false;
    settings
}

fn builder(storage: &Arc<MemoryStorage>) -> Builder {
    Builder::new(settings()).storage(storage.clone())
}

fn files_of(storage: &MemoryStorage) -> Files {
    let mut files = Files::new();
    let mut dirs = vec![PathBuf::from(DIR)];
    while let Some(dir) = dirs.pop() {
        for name in storage.list(&dir).expect("list") {
            let path = dir.join(name);
            match Storage::len(storage, &path).expect("len") {
                None => dirs.push(path),
                Some(len) => {
                    let file = storage.open(&path).expect("open");
                    files.insert(path, file.read(0, len as usize).expect("read").to_vec());
                }
            }
        }
    }
    files
}

fn storage_with(files: &Files) -> Arc<MemoryStorage> {
    let storage = MemoryStorage::new();
    for (path, bytes) in files {
        storage
            .create_dir_all(path.parent().expect("below the root"))
            .expect("mkdir");
        let mut file = storage.create(path).expect("create");
        file.write_all(bytes).expect("write");
        file.finish(true).expect("finish");
    }
    Arc::new(storage)
}

/// A closed database with two tables, all of it in runs, and the same with more in it.
fn example(salt: u8) -> (Files, Files, Found) {
    let storage = Arc::new(MemoryStorage::new());
    let db = builder(&storage).open(DIR).expect("open");
    for name in ["a", "b"] {
        let table = db.create_table(name, TableSchema::key_value()).expect("create");
        for number in 0..30u8 {
            table.put([b'k', number], vec![number ^ salt; 50]).expect("put");
        }
    }
    db.flush().expect("flush");
    db.wait_idle().expect("idle");
    db.close().expect("close");
    let before = files_of(&storage);
    let db = builder(&storage).open(DIR).expect("open");
    for number in 30..60u8 {
        db.table("a")
            .expect("there")
            .put([b'k', number], vec![number ^ salt; 50])
            .expect("put");
        if number % 10 == 9 {
            db.flush().expect("flush");
        }
    }
    db.wait_idle().expect("idle");
    let found = read_all(&db).expect("read");
    db.close().expect("close");
    (before, files_of(&storage), found)
}

/// Opens and reads everything; what comes back without an error must be all there is.
fn outcome(files: &Files, expected: &Found) -> Result<(), kodiak::Error> {
    let storage = storage_with(files);
    let db = builder(&storage).existing().open(DIR)?;
    let found = read_all(&db)?;
    assert!(found == *expected, "the database opens with something missing");
    db.close()
}

/// The outcome must be an error that names the file, or nothing missing if that is allowed.
fn check(files: &Files, expected: &Found, path: &Path, may_pass: bool, what: &str) {
    let result = std::panic::catch_unwind(|| outcome(files, expected));
    let result = result.unwrap_or_else(|_| panic!("{what} of {}", path.display()));
    let Err(error) = result else {
        assert!(may_pass, "{what} of {} is not noticed", path.display());
        return;
    };
    let kinds = [ErrorKind::Corruption, ErrorKind::Unsupported, ErrorKind::NotFound];
    assert!(kinds.contains(&error.kind()), "{what} of {}: {error:?}", path.display());
    let name = path.file_name().expect("a file").to_string_lossy();
    let stem = name.split('.').next().unwrap_or(&name);
    let text = format!("{error:?}");
    assert!(
        text.contains(stem) || text.contains("MANIFEST") || text.contains("CURRENT"),
        "{what} of {name}: {text}"
    );
}

fn manifest_files(files: &Files) -> Vec<PathBuf> {
    let wanted = |path: &&PathBuf| {
        let name = path.file_name().expect("a file").to_string_lossy();
        name == "CURRENT" || name.starts_with("MANIFEST-")
    };
    files.keys().filter(wanted).cloned().collect()
}

fn run_files(files: &Files) -> Vec<PathBuf> {
    let wanted = |path: &&PathBuf| {
        path.starts_with("/db/tables") && !["TABLE", "EXACT.json"].iter().any(|name| path.ends_with(name))
    };
    files.keys().filter(wanted).cloned().collect()
}

/// `step`, or 1 where every place is asked for.
fn step(step: usize) -> usize {
    extent("KODIAK_DAMAGE_STEP", [step.max(1) as u64, 1, 1]) as usize
}

#[test]
fn every_file_that_is_missing_is_told() {
    let (_, files, expected) = example(0);
    for path in manifest_files(&files).into_iter().chain(run_files(&files)) {
        let mut without = files.clone();
        without.remove(&path);
        check(&without, &expected, &path, false, "loss");
    }
    // Without any of them there is no database to open; creating one over what is left would hide that.
    let mut none = files.clone();
    manifest_files(&files).iter().for_each(|path| drop(none.remove(path)));
    let error = builder(&storage_with(&none)).open(DIR).expect_err("there is data");
    assert_eq!(error.kind(), ErrorKind::Corruption);
}

#[test]
fn every_truncation_is_told_or_costs_nothing() {
    let (_, files, expected) = example(0);
    for path in manifest_files(&files).into_iter().chain(run_files(&files)) {
        let bytes = &files[&path];
        // All short lengths, where the structure is, then ever fewer.
        let mut lens: Vec<usize> = (0..bytes.len().min(80)).collect();
        lens.extend((80..bytes.len()).step_by(step(bytes.len() / 40)));
        lens.push(bytes.len() - 1);
        for len in lens {
            let mut cut = files.clone();
            cut.insert(path.clone(), bytes[..len].to_vec());
            check(&cut, &expected, &path, false, &format!("truncation to {len}"));
        }
    }
}

#[test]
fn flipped_bits_are_told_or_do_not_matter() {
    let (_, files, expected) = example(0);
    for path in manifest_files(&files).into_iter().chain(run_files(&files)) {
        let bytes = &files[&path];
        let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let all = used * 8;
        for bit in (0..all).step_by(step(all / 250)) {
            let mut flipped = files.clone();
            flipped.get_mut(&path).expect("there")[bit / 8] ^= 1 << (bit % 8);
            // The tail has two slots, and formats have bytes that nobody reads.
            check(&flipped, &expected, &path, true, &format!("flip of bit {bit}"));
        }
    }
}

#[test]
fn every_flipped_bit_of_current_is_told() {
    let (_, files, expected) = example(0);
    let path = Path::new(DIR).join("CURRENT");
    for bit in 0..files[&path].len() * 8 {
        let mut flipped = files.clone();
        flipped.get_mut(&path).expect("there")[bit / 8] ^= 1 << (bit % 8);
        check(&flipped, &expected, &path, false, &format!("flip of bit {bit}"));
    }
}

#[test]
fn older_copies_are_told() {
    let (before, files, expected) = example(0);
    let older = manifest_files(&before);
    // Each alone, and each pair; all together are an older state of the manifest whose runs and log are not there.
    for (index, one) in older.iter().enumerate() {
        for other in &older[index..] {
            let mut mixed = files.clone();
            for path in [one, other] {
                mixed.insert(path.clone(), before[path].clone());
            }
            // A tail, or a manifest, of before may pass for an interrupted switch; what is in force is read to its end then.
            check(&mixed, &expected, one, true, "an older copy");
        }
    }
}

#[test]
fn files_of_another_database_are_told() {
    let (_, files, expected) = example(0);
    let (_, others, _) = example(7);
    for path in manifest_files(&files).into_iter().chain(run_files(&files)) {
        let Some(other) = others.get(&path) else { continue };
        assert_ne!(*other, files[&path], "{}", path.display());
        let mut mixed = files.clone();
        mixed.insert(path.clone(), other.clone());
        check(&mixed, &expected, &path, false, "a copy from another database");
    }
}
