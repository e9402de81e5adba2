//! Threads that apply and commit at the same time: whichever crash, each finds what it was promised.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kodiak_core::conformance::extent;
use kodiak_core::conformance::index::{assert_sound, entries};
use kodiak_core::index::{IndexFactory, Updates};
use kodiak_storage::{CrashOptions, FaultStorage};
use parking_lot::Mutex;

use crate::points::WAYS;
use crate::setup::Setup;

const WRITERS: usize = 3;
const KEYS: u64 = 20;

/// What the writers were told, when an image was taken.
struct Point {
    image: FaultStorage,
    /// Of each writer the last batch that a commit of its own has covered.
    promised: [u64; WRITERS],
    /// The newest root that was returned.
    root: u64,
}

/// Each writer gives all keys of its own the number of its batch, and commits; roots before are given up.
fn run(factory: &'static IndexFactory, seed: u64, batches: u64) -> (Setup, Vec<Point>) {
    let setup = Setup::new(factory, seed);
    let storage = setup.storage();
    let index = setup.create(&storage).expect("healthy");
    let promised: Arc<[AtomicU64; WRITERS]> = Arc::default();
    let root = Arc::new(AtomicU64::new(1));
    let points = Arc::new(Mutex::new(Vec::new()));
    let (told, newest, taken, watched) = (promised.clone(), root.clone(), points.clone(), storage.clone());
    storage.on_op(Some(Arc::new(move |event| {
        let Some(mutation) = event.mutation.filter(|mutation| mutation % 3 == 0) else {
            return;
        };
        // Before the image: what is promised later need not be in it.
        let (promised, root) = (
            [0, 1, 2].map(|writer| told[writer].load(Ordering::SeqCst)),
            newest.load(Ordering::SeqCst),
        );
        let image = match WAYS[mutation as usize / 3 % WAYS.len()] {
            Some((survival, block)) => watched.crash_image(&CrashOptions::new(survival, block, mutation)),
            None => watched.kill_image(),
        };
        taken.lock().push(Point { image, promised, root });
    })));
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (index, promised, root) = (&index, &promised, &root);
            scope.spawn(move || {
                let mut updates = Updates::new();
                for batch in 1..=batches {
                    updates.clear();
                    for key in 0..KEYS {
                        let key = [&[b'a' + writer as u8][..], &key.to_be_bytes(), &[7; 30]].concat();
                        updates.put(&key, &batch.to_be_bytes());
                    }
                    index.apply(&updates, None).expect("healthy");
                    let committed = index.commit().expect("healthy");
                    promised[writer].store(batch, Ordering::SeqCst);
                    root.fetch_max(committed.0, Ordering::SeqCst);
                    for old in index.roots().into_iter().filter(|old| *old < committed) {
                        // Another writer may have done so.
                        let _ = index.release(old);
                    }
                }
            });
        }
    });
    storage.on_op(None);
    (setup, std::mem::take(&mut *points.lock()))
}

fn check(setup: &Setup, point: &Point) {
    let index = setup.open(&point.image).expect("it was made");
    let newest = *index.roots().last().expect("one is always there");
    assert!(newest.0 >= point.root, "{newest} where {} was returned", point.root);
    let found = entries(&index.view(newest).expect("it is there")).expect("a sound file");
    for (writer, promised) in point.promised.into_iter().enumerate() {
        let of_writer = found.iter().filter(|(key, _)| key[0] == b'a' + writer as u8);
        let values: Vec<u64> = of_writer
            .map(|(_, value)| u64::from_be_bytes(value[..].try_into().expect("eight bytes")))
            .collect();
        let batch = values.first().copied().unwrap_or(0);
        assert!(
            batch >= promised,
            "writer {writer}: batch {batch} where {promised} was committed"
        );
        assert!(
            values.iter().all(|value| *value == batch),
            "a half of a batch: {values:?}"
        );
        assert!(batch == 0 || values.len() as u64 == KEYS, "{} keys", values.len());
    }
    assert_sound(&*index);
}

#[test]
fn what_was_promised_to_each_of_several_writers_is_there() {
    for factory in kodiak_indexes::ALL {
        let seeds = extent("KODIAK_INDEX_CRASH_POINTS", [300, 10_000, 100_000]) / 100;
        let mut images = 0;
        for seed in 1..=seeds {
            let (setup, points) = run(factory, seed, 12);
            points.iter().for_each(|point| check(&setup, point));
            images += points.len();
        }
        assert!(images as u64 > seeds * 20, "{images} images");
    }
}
