//! Every log passes the suite of its trait, on memory and on real files.

use std::path::PathBuf;
use std::sync::Arc;

use kodiak_core::conformance::wal;
use kodiak_core::storage::Storage;
use kodiak_core::wal::WalFactory;
use kodiak_storage::{LocalStorage, MemoryStorage};

fn in_memory(factory: &WalFactory) {
    wal::run(factory, &|| {
        (
            Arc::new(MemoryStorage::new()) as Arc<dyn Storage>,
            PathBuf::from("/db/wal"),
        )
    });
}

#[test]
fn every_log_conforms_in_memory() {
    for factory in kodiak_wal::ALL {
        in_memory(factory);
    }
}

#[test]
fn every_log_conforms_on_files() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let number = std::sync::atomic::AtomicU64::new(0);
    for factory in kodiak_wal::ALL {
        wal::run(factory, &|| {
            let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            (
                Arc::new(LocalStorage) as Arc<dyn Storage>,
                root.path().join(number.to_string()).join("wal"),
            )
        });
    }
}
