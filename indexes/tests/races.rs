//! Views that come and go on other threads while batches are committed.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::PATH;
use kodiak_core::conformance::index::{Random, assert_sound};
use kodiak_core::index::{Index, IndexContext, IndexFactory, Updates};
use kodiak_core::options::{OptionValue, Options};
use kodiak_indexes::IndexFile;
use kodiak_storage::MemoryStorage;

const COMMITS: usize = 1_500;
const VIEWERS: usize = 3;

fn run(factory: &'static IndexFactory, compression: &str) {
    let storage = Arc::new(MemoryStorage::new());
    let given = [("compression".to_owned(), OptionValue::Name(compression.to_owned()))];
    let context = IndexContext {
        storage: storage.clone(),
        path: PATH.into(),
        pool: (factory.pool)(64 << 20),
        options: Options::resolve(factory.component.options, given).expect("valid options"),
        upsert: None,
    };
    let index: &dyn Index = &*(factory.create)(context).expect("a new index");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..VIEWERS {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let newest = *index.roots().last().expect("one is always there");
                    // It may have been released meanwhile.
                    if let Ok(view) = index.view(newest) {
                        std::thread::yield_now();
                        drop(view);
                    }
                }
            });
        }
        let (mut random, mut updates) = (Random::new(4), Updates::new());
        for commit in 0..COMMITS {
            updates.clear();
            for _ in 0..3 {
                updates.put(&random.below(4000).to_be_bytes(), &[1; 40]);
            }
            index.apply(&updates, None).expect("a sound batch");
            let newest = index.commit().expect("space");
            for root in index.roots().into_iter().filter(|root| *root < newest) {
                index.release(root).expect("an older root");
            }
            if let Err(error) = IndexFile::open(&*storage, Path::new(PATH)) {
                done.store(true, Ordering::Relaxed);
                panic!(
                    "{} with {compression}, commit {commit}: {error}",
                    factory.component.name
                );
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_sound(index);
}

#[test]
fn whatever_views_come_and_go_every_commit_can_be_opened() {
    for factory in kodiak_indexes::ALL {
        for compression in ["lz4", "none"] {
            run(factory, compression);
        }
    }
}
