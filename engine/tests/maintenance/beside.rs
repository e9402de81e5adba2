//! Openings for reading only while another process flushes at the worst of moments.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::ThreadId;

use kodiak::core::storage::Storage;
use kodiak::{Builder, Db, RecoveryMode, Settings, Table, TableSchema};
use kodiak_storage::{FaultStorage, Moment, OpEvent};

use super::common::*;

/// A process that writes: each batch goes to two tables, with the next number as its key.
struct Writer {
    db: Db,
    one: Table,
    two: Table,
    written: AtomicU64,
}

impl Writer {
    fn new(storage: &Arc<FaultStorage>, settings: &Settings) -> Self {
        let builder = Builder::new(settings.clone()).storage(Arc::clone(storage) as Arc<dyn Storage>);
        let db = builder.open("/db").expect("open");
        let create = |name| db.create_table(name, TableSchema::key_value()).expect("create");
        let (one, two) = (create("one"), create("two"));
        let written = AtomicU64::new(0);
        Self { db, one, two, written }
    }

    fn write(&self, batches: u64) {
        for _ in 0..batches {
            let number = self.written.load(Ordering::SeqCst);
            let mut batch = self.db.batch();
            batch
                .put(&self.one, number.to_be_bytes(), [1; 100])
                .put(&self.two, number.to_be_bytes(), [2; 15_000]);
            self.db.write(batch).expect("write");
            self.written.store(number + 1, Ordering::SeqCst);
        }
    }

    /// Flushes everything, so that the log is released; with `apart`, segments are begun in which nothing is. Then goes on until
    /// released files are segments again.
    fn flush(&self, apart: bool) {
        if apart {
            self.one.flush().expect("flush");
            self.two.flush().expect("flush");
        }
        self.db.flush().expect("flush");
        for _ in 0..2 {
            self.write(3);
            self.db.flush().expect("flush");
        }
        self.write(2);
    }
}

/// Opens the database for reading; just before storage operation `nth` of that the writer flushes. False if there are not so many.
fn open_interrupted(
    storage: &Arc<FaultStorage>,
    settings: &Settings,
    (writer, apart): (&Arc<Writer>, bool),
    nth: u64,
) -> (Db, bool) {
    let reader: ThreadId = std::thread::current().id();
    let (seen, interrupted) = (AtomicU64::new(0), Arc::new(AtomicBool::new(false)));
    let (flushing, done) = (Arc::clone(writer), Arc::clone(&interrupted));
    storage.on_op(Some(Arc::new(move |event: &OpEvent| {
        let of_reader = std::thread::current().id() == reader && !done.load(Ordering::SeqCst);
        if of_reader && event.moment == Moment::Before && seen.fetch_add(1, Ordering::SeqCst) == nth {
            done.store(true, Ordering::SeqCst);
            flushing.flush(apart);
        }
    })));
    let builder = Builder::new(settings.clone()).storage(Arc::clone(storage) as Arc<dyn Storage>);
    let opened = builder.read_only().open("/db").expect("open for reading");
    storage.on_op(None);
    (opened, interrupted.load(Ordering::SeqCst))
}

#[test]
fn a_reader_has_what_was_acknowledged_whenever_the_writer_flushes_while_it_opens() {
    let modes = [
        RecoveryMode::Absolute,
        RecoveryMode::PointInTime,
        RecoveryMode::TolerateTail,
        RecoveryMode::SkipCorrupt,
    ];
    for (mode, apart) in modes.into_iter().flat_map(|mode| [(mode, false), (mode, true)]) {
        let mut settings = small();
        settings.wal.recovery = mode;
        settings.memtable.size = 4 << 20;
        for nth in 0.. {
            let storage = Arc::new(FaultStorage::with_seed(nth));
            let writer = Arc::new(Writer::new(&storage, &settings));
            // Several segments, the last of which has only a little.
            writer.write(5 + nth % 5);
            let before = writer.written.load(Ordering::SeqCst);
            let (reader, interrupted) = open_interrupted(&storage, &settings, (&writer, apart), nth);
            let what = format!("{mode:?}, flushes apart: {apart}, operation {nth}");
            let found = batches_in(&what, &reader);
            assert!(found >= before, "{what}: {found} of {before} batches");
            if !interrupted {
                assert!(nth > 20, "{what}: an opening does more");
                break;
            }
        }
    }
}
