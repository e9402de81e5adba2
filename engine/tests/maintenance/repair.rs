use std::path::{Path, PathBuf};
use std::sync::Arc;

use kodiak::core::storage::Storage;
use kodiak::{ErrorKind, MemoryStorage, TableSchema};
use kodiak_storage::FaultStorage;

use super::common::*;

/// A closed database, and what it holds.
fn filled<S: Storage + 'static>(storage: &Arc<S>) -> Contents {
    let db = open(storage, "/db");
    fill(&db);
    let whole = contents(&db);
    db.close().expect("close");
    whole
}

/// Opens, compares, and verifies after a compaction.
fn check<S: Storage + 'static>(storage: &Arc<S>, whole: &Contents, what: &str) {
    let db = open(storage, "/db");
    assert_eq!(&contents(&db), whole, "{what}");
    db.compact().expect("compact");
    assert_eq!(&contents(&db), whole, "{what}: after a compaction");
    let report = db.verify().expect("verify");
    assert!(report.is_clean(), "{what}: {report}");
}

#[test]
fn a_lost_manifest_is_made_anew() {
    let storage = Arc::new(MemoryStorage::new());
    let whole = filled(&storage);
    lose_manifest(&*storage);
    let report = repair(&storage);
    assert!(
        report.manifest_rebuilt && report.problems.is_empty() && report.lost.is_empty(),
        "{report}"
    );
    assert!(
        report.tables == 2 && report.runs >= 4 && report.log_batches > 0,
        "{report}"
    );
    check(&storage, &whole, "without a manifest");
}

#[test]
fn a_damaged_manifest_is_kept_aside_and_made_anew() {
    for (file, offset) in [("CURRENT", 3), ("MANIFEST", 80), ("MANIFEST", 10)] {
        let storage = Arc::new(MemoryStorage::new());
        let whole = filled(&storage);
        let names = storage.list(Path::new("/db")).expect("list");
        let name = names
            .iter()
            .find(|name| name.starts_with(file) && *name != "MANIFEST-TAIL")
            .expect("there");
        flip(&*storage, &Path::new("/db").join(name), offset);
        assert_eq!(
            builder(&storage).open("/db").expect_err("damaged").kind(),
            ErrorKind::Corruption
        );
        let report = repair(&storage);
        assert!(report.manifest_rebuilt && report.problems.len() == 1, "{report}");
        assert!(
            report.lost.iter().any(|path| path == &Path::new("/db/lost").join(name)),
            "{report}"
        );
        check(&storage, &whole, file);
    }
}

#[test]
fn missing_and_damaged_sidecars_are_rebuilt() {
    for lost_manifest in [false, true] {
        for damaged in [false, true] {
            let storage = Arc::new(MemoryStorage::new());
            let db = open(&storage, "/db");
            let table = db.create_table("t", TableSchema::key_value()).expect("create");
            for round in 0..3u32 {
                (round..200).for_each(|key| table.put(key.to_be_bytes(), [round as u8; 30]).expect("put"));
                table.delete(round.to_be_bytes()).expect("delete");
                db.flush().expect("flush");
            }
            let whole = contents(&db);
            drop(table);
            db.close().expect("close");
            let sidecars = table_files(&*storage, "/db/tables/000001", ".meta");
            for sidecar in &sidecars {
                match damaged {
                    true => flip(
                        &*storage,
                        sidecar,
                        storage.len(sidecar).expect("len").expect("there") - 30,
                    ),
                    false => storage.remove(sidecar).expect("remove"),
                }
            }
            if lost_manifest {
                lose_manifest(&*storage);
            }
            let report = repair(&storage);
            assert_eq!(report.rebuilt, sidecars, "{report}");
            assert_eq!(report.lost.len(), if damaged { sidecars.len() } else { 0 }, "{report}");
            check(
                &storage,
                &whole,
                &format!("manifest lost: {lost_manifest}, damaged: {damaged}"),
            );
        }
    }
}

#[test]
fn a_damaged_data_file_is_moved_aside_and_everything_else_stays() {
    for lost_manifest in [false, true] {
        let storage = Arc::new(MemoryStorage::new());
        let mut whole = filled(&storage);
        let damaged = table_files(&*storage, "/db/tables/000002", ".feather");
        for path in &damaged {
            // In the middle of the first block, so that the file's own footer is whole.
            flip(&*storage, path, storage.len(path).expect("len").expect("there") / 4);
        }
        if lost_manifest {
            lose_manifest(&*storage);
        }
        let report = repair(&storage);
        for path in &damaged {
            let lost = PathBuf::from(path.to_str().expect("text").replacen(
                "/db/tables/000002/",
                "/db/lost/tables-000002-",
                1,
            ));
            assert!(report.lost.contains(&lost), "{} of {report}", lost.display());
            assert!(storage.len(&lost).expect("len").is_some());
            assert!(
                report.problems.iter().any(|problem| problem.file() == Some(path)),
                "{report}"
            );
        }
        let db = open(&storage, "/db");
        let left = contents(&db);
        assert_eq!(left["users"], whole.remove("users").expect("there"), "the intact table");
        assert!(db.verify().expect("verify").is_clean());
    }
}

#[test]
fn the_order_of_runs_is_found_without_the_manifest() {
    // Runs on several levels whose sequence numbers overlap: the largest is in the deepest.
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    for round in 0..30u32 {
        for key in 0..400u32 {
            if key % (round % 5 + 1) == 0 {
                let value = [round.to_be_bytes(), key.to_be_bytes()].concat().repeat(12);
                table.put((key * 7919 % 1000).to_be_bytes(), value).expect("put");
            }
        }
        if round % 3 == 1 {
            let from = round * 30;
            table
                .delete_range(from.to_be_bytes()..(from + 20).to_be_bytes())
                .expect("delete_range");
        }
        match round {
            5 => db.compact().expect("compact"),
            29 => {}
            _ => db.flush().expect("flush"),
        }
    }
    db.wait_idle().expect("idle");
    let whole = contents(&db);
    drop(table);
    db.close().expect("close");
    lose_manifest(&*storage);
    let report = repair(&storage);
    assert!(report.problems.is_empty() && report.runs > 1, "{report}");
    check(&storage, &whole, "order");
}

#[test]
fn tables_from_another_database_are_set_aside() {
    let storage = Arc::new(MemoryStorage::new());
    let whole = filled(&storage);
    let other = builder(&storage).open("/other").expect("open");
    let table = other.create_table("users", TableSchema::key_value()).expect("create");
    table.put(b"intruder", b"1").expect("put");
    drop(table);
    other.flush().expect("flush");
    other.close().expect("close");
    for path in table_files(&*storage, "/other/tables/000001", "") {
        let name = path.file_name().expect("a name").to_str().expect("text");
        if name.starts_with('0') {
            let ending = name.split_once('.').expect("an ending").1;
            storage
                .rename(&path, Path::new(&format!("/db/tables/000001/0000000900.{ending}")))
                .expect("rename");
        }
    }
    lose_manifest(&*storage);
    let report = repair(&storage);
    assert_eq!(report.lost.len(), 2, "{report}");
    check(&storage, &whole, "with files of another database");
}

#[test]
fn what_can_be_read_of_a_damaged_log_comes_back() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    for key in 0..200u32 {
        table.put(key.to_be_bytes(), [1; 100]).expect("put");
        db.sync().expect("sync");
    }
    drop(table);
    db.close().expect("close");
    let log = table_files(&*storage, "/db/wal", ".wal").remove(0);
    flip(&*storage, &log, 5000);
    assert_eq!(
        builder(&storage).open("/db").expect_err("damaged").kind(),
        ErrorKind::Corruption
    );
    let report = repair(&storage);
    assert!(report.problems.len() == 1 && report.lost.len() == 1, "{report}");
    let left = contents(&open(&storage, "/db"));
    assert!(
        (190..200).contains(&left["t"].len()),
        "{} entries are left",
        left["t"].len()
    );
}

#[test]
fn an_old_segment_of_the_log_that_is_back_does_not_end_its_replay() {
    for needed in [false, true] {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, "/db");
        let table = db.create_table("t", TableSchema::key_value()).expect("create");
        table.put(b"first", b"1").expect("put");
        db.sync().expect("sync");
        let old = table_files(&*storage, "/db/wal", ".wal").remove(0);
        storage.hard_link(&old, Path::new("/old")).expect("link");
        let bytes = storage.open(&old).expect("open").read(0, 4096).expect("read").to_vec();
        for round in 0..3u8 {
            table.put([round], b"2").expect("put");
            db.flush().expect("flush");
        }
        table.put(b"last", b"3").expect("put");
        let mut whole = contents(&db);
        drop(table);
        db.close().expect("close");
        assert_eq!(storage.len(&old).expect("len"), None, "it was released");
        let mut file = storage.create(&old).expect("create");
        std::io::Write::write_all(&mut file, &bytes).expect("write");
        file.finish(true).expect("finish");
        if needed {
            // The runs are lost, so that what the old segment holds is in it only.
            for path in table_files(&*storage, "/db/tables/000001", "")
                .into_iter()
                .filter(|path| !path.ends_with("TABLE"))
            {
                storage.remove(&path).expect("remove");
            }
            whole.get_mut("t").expect("there").retain(|key, _| key.len() > 1);
        }
        lose_manifest(&*storage);
        let report = repair(&storage);
        assert_eq!(report.problems.len(), usize::from(needed), "{report}");
        check(&storage, &whole, &format!("needed: {needed}"));
    }
}

#[test]
fn what_is_not_a_database_is_not_repaired() {
    let storage = Arc::new(MemoryStorage::new());
    storage.create_dir_all(Path::new("/empty")).expect("create");
    assert_eq!(
        builder(&storage).repair("/empty").expect_err("empty").kind(),
        ErrorKind::NotFound
    );
    assert_eq!(
        builder(&storage).repair("/nowhere").expect_err("missing").kind(),
        ErrorKind::NotFound
    );
    let db = open(&storage, "/db");
    assert_eq!(
        builder(&storage).repair("/db").expect_err("open").kind(),
        ErrorKind::Locked
    );
    drop(db);
}

#[test]
fn a_sound_database_is_left_as_it_is() {
    let storage = Arc::new(MemoryStorage::new());
    let whole = filled(&storage);
    let before = storage.list(Path::new("/db")).expect("list");
    let report = repair(&storage);
    assert!(
        report.problems.is_empty() && report.lost.is_empty() && report.rebuilt.is_empty(),
        "{report}"
    );
    assert!(!report.manifest_rebuilt);
    assert_eq!(storage.list(Path::new("/db")).expect("list"), before);
    check(&storage, &whole, "sound");
}

#[test]
fn a_repair_cut_short_by_a_power_loss_can_be_run_again() {
    for nth in 1u64.. {
        let storage = Arc::new(FaultStorage::with_seed(nth));
        let whole = filled(&storage);
        lose_manifest(&*storage);
        // Without a manifest nobody knows that a run whose removal was taken back by the power loss is obsolete.
        for dir in ["/db", "/db/tables/000001", "/db/tables/000002"] {
            storage.sync_dir(Path::new(dir)).expect("sync");
        }
        let sidecar = table_files(&*storage, "/db/tables/000002", ".meta").remove(0);
        flip(
            &*storage,
            &sidecar,
            storage.len(&sidecar).expect("len").expect("there") - 30,
        );
        storage.open_log(&sidecar).expect("open").sync_data().expect("sync");
        lose_power_before(&storage, nth);
        repair(&storage);
        let Some(image) = storage.take_crash_image() else {
            assert!(nth > 5);
            return;
        };
        let image = Arc::new(image);
        repair(&image);
        let left = contents(&open(&image, "/db"));
        assert_eq!(left["users"], whole["users"], "mutation {nth}");
        assert_eq!(left["counts"], whole["counts"], "mutation {nth}");
    }
}
