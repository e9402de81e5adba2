//! Appends by several threads in all modes, with syncs, rotations and releases, on threads that are joined one by one, over a log
//! that is never dropped: so that a thread sanitizer without an instrumented standard library has nothing to complain of but the
//! log itself (`docs/testing.md`).

use std::sync::Arc;
use std::thread;

use kodiak_core::conformance::wal::{batch, context, open, replay};
use kodiak_core::storage::Storage;
use kodiak_core::wal::{RecoveryMode, SyncMode, Wal, WalContext};
use kodiak_storage::LocalStorage;

const MODES: [SyncMode; 3] = [SyncMode::None, SyncMode::Normal, SyncMode::Full];

#[test]
fn appends_of_many_threads_come_back_once_each() {
    for factory in kodiak_wal::ALL {
        let name = factory.component.name;
        let dir = tempfile::tempdir().expect("a directory");
        let storage: Arc<dyn Storage> = Arc::new(LocalStorage);
        let context = WalContext {
            segment_bytes: 16 << 10,
            ..context(&storage, dir.path())
        };
        let wal: &'static dyn Wal = Box::leak(open(factory, &context, 1));
        let durable = factory.capabilities.durable;
        let writers = (0..3u64).map(|writer| {
            thread::spawn(move || {
                for number in 0..300 {
                    let batch = batch(writer << 32 | number, 1 + number % 3, 100);
                    // Stretches in which a commit now and then is durable, and others in which all are.
                    let mode = match (durable, number % 100 < 60 && number % 50 != 0) {
                        (true, true) => MODES[number as usize % 2],
                        (true, false) => SyncMode::Full,
                        (false, _) => SyncMode::None,
                    };
                    let appended = wal.append(&batch, number, mode);
                    assert!(appended.expect("appends").first_seq > 0);
                }
            })
        });
        let mut threads: Vec<_> = writers.collect();
        threads.push(thread::spawn(move || {
            for _ in 0..20 {
                if durable {
                    wal.sync().expect("syncs");
                }
                wal.rotate().expect("rotates");
                assert!(wal.stats().failures == 0);
            }
        }));
        for thread in threads {
            thread.join().unwrap_or_else(|_| panic!("{name}"));
        }
        wal.close().expect("closes");
        let (records, _) = replay(factory, &context, 1, RecoveryMode::Absolute).expect("sound");
        assert_eq!(wal.next_seq() - 1, 3 * 600);
        assert_eq!(records.len(), if durable { 900 } else { 0 }, "{name}");
        assert!(records.windows(2).all(|pair| pair[0].0 < pair[1].0), "{name}");
    }
}
