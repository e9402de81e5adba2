//! Gets while flushes and compactions change runs and index.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kodiak::core::options::OptionValue;
use kodiak::{Builder, Db, MemoryStorage, Table};

use crate::support::{KINDS, check_sound, key, settings, table};

const KEYS: u32 = 300;
const ROUNDS: u64 = 60;

fn number(value: &[u8]) -> u64 {
    u64::from_le_bytes(value[..8].try_into().expect("eight bytes"))
}

/// Every key gets the number of each round; some are deleted in between, by themselves or in a range.
fn write(db: &Db, table: &Table, acknowledged: &AtomicU64) {
    for round in 1..=ROUNDS {
        for n in 0..KEYS {
            if n % 7 == 3 && round % 2 == 0 {
                table.delete(key(n)).expect("delete");
            }
            table
                .put(key(n), [round.to_le_bytes().as_slice(), &[7; 60]].concat())
                .expect("put");
        }
        acknowledged.store(round, Ordering::SeqCst);
        table.delete_range(key(KEYS)..key(KEYS + 10)).expect("delete_range");
        table
            .put(key(KEYS + round as u32 % 10), round.to_le_bytes())
            .expect("put");
        match round % 10 {
            5 => db.compact().expect("compact"),
            _ => db.flush().expect("flush"),
        }
    }
}

/// No key goes back, nor is behind what was acknowledged; and a snapshot keeps what it has.
fn read(db: &Db, table: &Table, acknowledged: &AtomicU64, done: &AtomicBool, start: u32) -> u64 {
    let (mut seen, mut gets) = (HashMap::<u32, u64>::new(), 0);
    let mut n = start;
    while !done.load(Ordering::SeqCst) || gets < 1000 {
        n = (n * 17 + 5) % KEYS;
        let least = acknowledged.load(Ordering::SeqCst);
        let snapshot = db.snapshot();
        let then = table
            .get_at(&snapshot, key(n))
            .expect("get_at")
            .map(|value| value.to_vec());
        // Deleted for a moment only, and only some.
        let now = table.get(key(n)).expect("get");
        if let Some(now) = &now {
            let before = seen.insert(n, number(now)).unwrap_or(0);
            assert!(
                number(now) >= before.max(least),
                "key {n}: {} after {before}, {least}",
                number(now)
            );
        } else {
            assert!(n % 7 == 3 || least == 0, "key {n} is gone after round {least}");
        }
        assert_eq!(
            table.get_at(&snapshot, key(n)).expect("get_at").as_deref(),
            then.as_deref(),
            "key {n}"
        );
        assert!(table.get("no such key").expect("get").is_none());
        gets += 1;
    }
    gets
}

/// Ends the readers, whatever happens to the writer.
struct Done<'d>(&'d AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn gets_are_right_while_runs_and_index_change() {
    for kind in KINDS {
        let mut settings = settings(kind);
        settings
            .compaction
            .options
            .insert("l0_trigger".to_owned(), OptionValue::Int(3));
        settings.compaction.target_run_size = 64 << 10;
        let storage = Arc::new(MemoryStorage::new());
        let db = Builder::new(settings).storage(storage).open("/db").expect("open");
        let table = table(&db);
        let (acknowledged, done) = (AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for start in 0..2 {
                let (db, table, acknowledged, done) = (&db, &table, &acknowledged, &done);
                scope.spawn(move || read(db, table, acknowledged, done, start));
            }
            let _done = Done(&done);
            write(&db, &table, &acknowledged);
        });
        db.wait_idle().expect("idle");
        assert!(db.stats().compactions.jobs > 5, "{kind}: hardly any compactions");
        check_sound(&db);
    }
}
