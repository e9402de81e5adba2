//! The wall clock may do what it likes: only TTL looks at it.

use std::sync::Arc;
use std::time::Duration;

use kodiak::{Builder, Db, MemoryStorage, ScanOptions, Table, TableOptions, TableSchema};
use kodiak_storage::FaultStorage;
use kodiak_tests::factors::small;
use kodiak_tests::generate::Generator;
use kodiak_tests::history::Op;
use kodiak_tests::runner::{Setup, run};

const HOUR: i64 = 3_600_000_000;
const TEN_YEARS: i64 = 10 * 365 * 24 * HOUR;
const SECOND: i64 = 1_000_000;
const NOTHING: [u8; 0] = [];

#[test]
fn a_history_does_not_depend_on_the_clock() {
    type Disturbance = fn(&FaultStorage, usize);
    let disturbances: [(&str, Disturbance); 5] = [
        ("frozen", |_, _| {}),
        ("running", |storage, _| storage.run_clock()),
        ("back an hour every 10 operations", |storage, op| {
            if op % 10 == 5 {
                storage.jump_clock(-HOUR);
            }
        }),
        ("forward ten years every 100 operations", |storage, op| {
            if op % 100 == 50 {
                storage.jump_clock(TEN_YEARS);
            }
        }),
        ("to and fro, down to 1970", |storage, op| match op % 4 {
            0 => storage.freeze_clock(0),
            1 => storage.jump_clock(TEN_YEARS),
            2 => storage.freeze_clock(u64::MAX / 4),
            _ => storage.run_clock(),
        }),
    ];
    let ops: Vec<Op> = Generator::new(21).take(1500).collect();
    for (name, disturb) in disturbances {
        let setup = Setup {
            disturb: Some(disturb),
            ..Setup::new(small())
        };
        if let Err(failure) = run(&ops, &setup) {
            panic!("{name}: {failure}");
        }
    }
}

/// A database with a clock that stands still, and a table whose entries live for ten seconds.
struct Ttl {
    storage: Arc<MemoryStorage>,
    db: Option<Db>,
}

impl Ttl {
    fn new() -> Self {
        let mut made = Self {
            storage: Arc::new(MemoryStorage::with_seed(1)),
            db: None,
        };
        made.reopen();
        let options = TableOptions::new().ttl(Duration::from_secs(10));
        made.db()
            .create_table_with("t", TableSchema::key_value(), options)
            .expect("create");
        made
    }

    fn reopen(&mut self) {
        if let Some(db) = self.db.take() {
            db.close().expect("close");
        }
        self.db = Some(
            Builder::new(small())
                .storage(self.storage.clone())
                .open("/db")
                .expect("open"),
        );
    }

    fn db(&self) -> &Db {
        self.db.as_ref().expect("it is open")
    }

    fn table(&self) -> Table {
        self.db().table("t").expect("table")
    }

    /// The keys by point reads; scans in both directions must agree.
    fn keys(&self) -> Vec<u8> {
        let table = self.table();
        let keys: Vec<u8> = (0..=255u8)
            .filter(|key| table.get([*key]).expect("get").is_some())
            .collect();
        let scanned: Vec<u8> = table
            .scan(..)
            .expect("scan")
            .map(|item| item.expect("entry").0[0])
            .collect();
        let mut back: Vec<u8> = table
            .scan_with(ScanOptions::new(..).rev())
            .expect("scan")
            .map(|item| item.expect("entry").0[0])
            .collect();
        back.reverse();
        assert_eq!(keys, scanned, "gets against a scan");
        assert_eq!(keys, back, "gets against a reverse scan");
        keys
    }
}

#[test]
fn entries_expire_at_their_age_wherever_they_are() {
    type Act = fn(&mut Ttl);
    let acts: [(&str, Act); 4] = [
        ("in memory", |_| {}),
        ("flushed", |ttl| ttl.db().flush().expect("flush")),
        ("compacted", |ttl| ttl.db().compact().expect("compact")),
        ("reopened", Ttl::reopen),
    ];
    for (name, act) in acts {
        let mut ttl = Ttl::new();
        ttl.table().put([1], b"old").expect("put");
        ttl.storage.jump_clock(5 * SECOND);
        ttl.table().put([2], b"young").expect("put");
        act(&mut ttl);
        ttl.storage.jump_clock(5 * SECOND - 1);
        assert_eq!(ttl.keys(), [1, 2], "{name}: one microsecond before");
        // Late by at most a thousandth.
        ttl.storage.jump_clock(SECOND / 100 + 1);
        assert_eq!(ttl.keys(), [2], "{name}: the older one is gone");
        act(&mut ttl);
        assert_eq!(ttl.keys(), [2], "{name}: and stays away");
        ttl.storage.jump_clock(5 * SECOND);
        assert_eq!(ttl.keys(), NOTHING, "{name}: so is the younger");
        ttl.table().put([1], b"again").expect("put");
        assert_eq!(ttl.keys(), [1], "{name}: a new value lives anew");
    }
}

#[test]
fn a_clock_set_back_keeps_entries_longer_and_none_shorter() {
    for flush in [false, true] {
        let mut ttl = Ttl::new();
        ttl.table().put([1], b"v").expect("put");
        ttl.storage.jump_clock(-HOUR);
        ttl.table().put([2], b"v").expect("put");
        if flush {
            ttl.db().flush().expect("flush");
            ttl.reopen();
        }
        ttl.storage.jump_clock(10 * SECOND - 1);
        assert_eq!(ttl.keys(), [1, 2], "nobody is ten seconds old by any clock");
        ttl.storage.jump_clock(HOUR + SECOND);
        assert_eq!(ttl.keys(), NOTHING, "both are by the first");
    }
}

#[test]
fn a_jump_of_ten_years_expires_everything_and_frees_its_space() {
    let mut ttl = Ttl::new();
    for key in 0..200u8 {
        ttl.table().put([key], [key; 500]).expect("put");
    }
    ttl.db().flush().expect("flush");
    assert!(ttl.db().stats().disk_bytes() > 50_000);
    ttl.storage.jump_clock(TEN_YEARS);
    assert_eq!(ttl.keys(), NOTHING);
    ttl.db().compact().expect("compact");
    assert_eq!(ttl.db().stats().disk_bytes(), 0, "{}", ttl.db().stats());
    ttl.table().put([7], b"new").expect("put");
    ttl.reopen();
    assert_eq!(ttl.keys(), [7]);
}
