//! Small databases with a bit of everything, and their contents.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kodiak::core::storage::Storage;
use kodiak::maintenance::RepairReport;
use kodiak::{Builder, Db, Result, Settings, TableOptions, TableSchema};
use kodiak_storage::{CrashOptions, FaultStorage, Moment};

/// What the tables of a database hold.
pub type Contents = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

/// Settings for small databases: everything happens early.
pub fn small() -> Settings {
    let mut settings = Settings::default();
    settings.memtable.size = 64 << 10;
    settings.format.block_size = Some(1 << 10);
    settings.compaction.target_run_size = 64 << 10;
    settings.wal.segment_size = 64 << 10;
    settings.cache.capacity = 1 << 20;
    settings
}

pub fn builder(storage: &Arc<impl Storage + 'static>) -> Builder {
    Builder::new(small()).storage(Arc::clone(storage) as Arc<dyn Storage>)
}

pub fn open(storage: &Arc<impl Storage + 'static>, path: &str) -> Db {
    builder(storage).open(path).expect("open")
}

/// Everything that a database holds.
pub fn contents(db: &Db) -> Contents {
    let table = |name: &String| {
        let table = db.table(name).expect("table");
        let entries = table
            .scan(..)
            .expect("scan")
            .map(|item| item.map(|(key, value)| (key.to_vec(), value.to_vec())));
        let entries: BTreeMap<Vec<u8>, Vec<u8>> = entries.collect::<Result<_>>().expect("entries");
        for (key, value) in &entries {
            assert_eq!(
                table.get(key).expect("get").as_deref(),
                Some(value.as_slice()),
                "a get differs from a scan"
            );
        }
        (name.clone(), entries)
    };
    db.tables().iter().map(table).collect()
}

/// Fills a database with two tables whose runs are on several levels, with overwrites, deletes, range deletes and merges; the
/// last writes are only in the log.
pub fn fill(db: &Db) {
    let users = db.create_table("users", TableSchema::key_value()).expect("create");
    let options = TableOptions::new().merge_operator("counter");
    let counts = db
        .create_table_with("counts", TableSchema::key_value(), options)
        .expect("create");
    for round in 0..4u32 {
        for key in (round..300).step_by(round as usize + 1) {
            users
                .put(format!("user{key:04}"), format!("value {key} of round {round}"))
                .expect("put");
        }
        users.delete(format!("user{:04}", 10 + round)).expect("delete");
        users
            .delete_range(
                format!("user{:04}", 50 + 10 * round).as_bytes()..format!("user{:04}", 55 + 10 * round).as_bytes(),
            )
            .expect("delete_range");
        for key in 0..20u32 {
            counts
                .merge(key.to_be_bytes(), i64::from(key * round).to_le_bytes())
                .expect("merge");
        }
        match round {
            0 => db.compact().expect("compact"),
            1 | 2 => db.flush().expect("flush"),
            _ => {}
        }
    }
    db.sync().expect("sync");
}

/// What `work` gives, which gets the number of batches that were acknowledged, while another thread writes batches of two tables, each with the
/// next number as its key.
pub fn beside_a_writer<T>(db: &Db, work: impl FnOnce(&AtomicU64) -> T) -> T {
    struct Stop<'s>(&'s AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let create = |name| db.create_table(name, TableSchema::key_value()).expect("create");
    let (one, two) = (create("one"), create("two"));
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0u64.. {
                let mut batch = db.batch();
                // The second table's entries are large: its memtable is full, and flushed, far more often.
                batch
                    .put(&one, number.to_be_bytes(), b"")
                    .put(&two, number.to_be_bytes(), [7; 900]);
                db.write(batch).expect("write");
                acknowledged.store(number + 1, Ordering::Release);
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        let _stop = Stop(&stop);
        work(&acknowledged)
    })
}

/// How many of the batches of [`beside_a_writer`] a copy holds: the first ones, and each whole.
pub fn batches_in(name: &str, copy: &Db) -> u64 {
    let copy = contents(copy);
    let count = copy["one"].len() as u64;
    let expected: Vec<Vec<u8>> = (0..count).map(|number| number.to_be_bytes().to_vec()).collect();
    for (table, entries) in &copy {
        assert!(
            entries.keys().eq(&expected),
            "{name}: {table} holds others than the first {count}"
        );
    }
    count
}

/// Runs `work` on fresh databases, one for each mutation of storage that it makes, and hands over what a power loss just
/// before that mutation leaves.
pub fn crash_everywhere(
    prepare: impl Fn(&Arc<FaultStorage>) -> Db,
    work: impl Fn(&Db),
    check: impl Fn(&Arc<FaultStorage>, u64),
) {
    for nth in 1.. {
        let storage = Arc::new(FaultStorage::with_seed(nth));
        let db = prepare(&storage);
        db.wait_idle().expect("idle");
        let survival = [0, 50, 100][nth as usize % 3];
        let options = CrashOptions {
            survival,
            seed: nth,
            ..CrashOptions::default()
        };
        storage.crash_at(storage.mutations() + nth, Moment::Before, options);
        work(&db);
        let Some(image) = storage.take_crash_image() else {
            assert!(nth > 5, "the work changes nothing");
            return;
        };
        drop(db);
        check(&Arc::new(image), nth);
    }
}

/// Overwrites one byte of a file.
pub fn flip(storage: &dyn Storage, path: &Path, offset: u64) {
    let file = storage.open_log(path).expect("open");
    let mut byte = [0];
    assert_eq!(file.read_at(offset, &mut byte).expect("read"), 1);
    file.write_at(offset, &[byte[0] ^ 0x40]).expect("write");
}

/// The files of a table, sorted by name.
pub fn table_files(storage: &dyn Storage, dir: &str, ending: &str) -> Vec<std::path::PathBuf> {
    let dir = Path::new(dir);
    let names = storage.list(dir).expect("list");
    names
        .iter()
        .filter(|name| name.ends_with(ending))
        .map(|name| dir.join(name))
        .collect()
}

/// Leaves only the first bytes of a file.
pub fn truncate(storage: &dyn Storage, path: &Path, len: usize) {
    let bytes = storage.open(path).expect("open").read(0, len).expect("read");
    overwrite(storage, path, &bytes);
}

/// Gives a file other bytes.
pub fn overwrite(storage: &dyn Storage, path: &Path, bytes: &[u8]) {
    storage.remove(path).expect("remove");
    let mut file = storage.create(path).expect("create");
    file.write_all(bytes).expect("write");
    file.finish(true).expect("finish");
}

/// Removes the manifest.
pub fn lose_manifest(storage: &dyn Storage) {
    for name in storage.list(Path::new("/db")).expect("list") {
        if name == "CURRENT" || name.starts_with("MANIFEST") {
            storage.remove(&Path::new("/db").join(name)).expect("remove");
        }
    }
}

/// Repairs the database with the settings of these tests.
pub fn repair<S: Storage + 'static>(storage: &Arc<S>) -> RepairReport {
    builder(storage).repair("/db").expect("repair")
}

/// The power is lost before the `nth` mutation from now on; what of the mutations before it was not synced survives in part.
pub fn lose_power_before(storage: &FaultStorage, nth: u64) {
    let options = kodiak_storage::CrashOptions {
        survival: [0, 50, 100][nth as usize % 3],
        seed: nth,
        ..Default::default()
    };
    storage.crash_at(storage.mutations() + nth, kodiak_storage::Moment::Before, options);
}
