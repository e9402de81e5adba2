//! Views that end, and roots that are given up, on other threads while a commit is being written.
//!
//! What this guards: between the moment at which the account of a commit is put together and the one at which it gets its pages, the
//! last view of a root may end, so that the account itself comes to lie in pages that it would call dead; and a root may be
//! given up that the account names. To hit these moments, which lie between two operations of the storage, threads wait for an operation of
//! the commit, and a little longer, before they let go. It fails (tried with each) if
//! - a whole account lists what only views need as dead, and an opening takes the account's own pages before it frees what is dead (`encode` and
//!   `replay` in `indexes/src/store/account.rs`; one of them is enough for files of this version);
//! - the roots that a file names are taken to be those that are left once a commit is written, not those that its account names (`finish` in
//!   `indexes/src/store/commit.rs`);
//! - pages are used again that only roots which the file still names need, or only views (`reap` in `indexes/src/store/space.rs`).

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{PATH, context, small};
use kodiak_core::conformance::index::{Random, assert_sound, entries};
use kodiak_core::index::{Index, IndexFactory, IndexView, Root, Updates};
use kodiak_core::options::{OptionValue, Options};
use kodiak_indexes::IndexFile;
use kodiak_storage::{FaultStorage, Moment, OpKind};

const COMMITS: u64 = 2_000;
/// Nodes that a commit writes before its account: a leaf and the one above, each of a page, as the account is.
const NODES: u64 = 2;

/// What the threads tell each other.
#[derive(Debug, Default)]
struct Clock {
    /// Commits begun.
    commits: AtomicU64,
    /// Writes of the one that runs.
    writes: AtomicU64,
    done: AtomicBool,
}

impl Clock {
    /// Waits for the commit after `commit`, for so many of its writes, and a little longer; false if there is none.
    fn wait(&self, commit: u64, writes: u64, longer: usize) -> bool {
        let is_there = || {
            let now = self.commits.load(Ordering::Acquire);
            now > commit + 1 || (now == commit + 1 && self.writes.load(Ordering::Acquire) >= writes)
        };
        for turn in 1u64.. {
            if is_there() {
                break;
            }
            if self.done.load(Ordering::Relaxed) {
                return false;
            }
            if turn.is_multiple_of(200) {
                std::thread::yield_now();
            }
            std::hint::spin_loop();
        }
        for _ in 0..longer {
            std::hint::spin_loop();
        }
        true
    }
}

fn read(view: &Arc<dyn IndexView>) -> Vec<(Vec<u8>, Vec<u8>)> {
    entries(view).expect("a sound file")
}

/// Opens views and lets them go while a commit writes.
fn view(index: &dyn Index, clock: &Clock) {
    let mut random = Random::new(1);
    loop {
        let commit = clock.commits.load(Ordering::Acquire);
        let newest = *index.roots().last().expect("one is always there");
        // It may have been released meanwhile.
        let Ok(view) = index.view(newest) else { continue };
        let held = (random.below(4) == 0).then(|| read(&view));
        // One commit replaces what it reads, another gives the root up on disk: from then on only the view needs it.
        let later = 1 + random.below(4) as u64;
        if !clock.wait(commit + later, NODES + random.below(2) as u64, random.below(200)) {
            return;
        }
        if let Some(held) = held {
            assert_eq!(read(&view), held, "{} changes while it is held", view.root());
        }
        drop(view);
    }
}

/// Gives older roots up while a commit writes.
fn release(index: &dyn Index, clock: &Clock) {
    let mut random = Random::new(2);
    loop {
        let commit = clock.commits.load(Ordering::Acquire);
        if !clock.wait(commit, NODES + random.below(2) as u64, random.below(200)) {
            return;
        }
        let roots = index.roots();
        for old in &roots[..roots.len() - 1] {
            // Nobody else releases.
            index.release(*old).expect("an older root");
        }
    }
}

fn run(factory: &'static IndexFactory, compression: &str) {
    let storage = Arc::new(FaultStorage::with_seed(1));
    let small = small(factory);
    let given = small.iter().map(|(name, value)| (name.to_owned(), value.clone()));
    let given = given.filter(|(name, _)| name != "compression");
    let compression_is = ("compression".to_owned(), OptionValue::Name(compression.to_owned()));
    let options = Options::resolve(factory.component.options, given.chain([compression_is])).expect("valid options");
    let index: &dyn Index = &*(factory.create)(context(factory, storage.clone(), options)).expect("a new index");
    let clock = Arc::new(Clock::default());
    let told = Arc::clone(&clock);
    storage.on_op(Some(Arc::new(move |event| {
        if event.kind == OpKind::Write && event.moment == Moment::After {
            told.writes.fetch_add(1, Ordering::AcqRel);
        }
    })));
    let what = format!("{} with {compression}", factory.component.name);
    std::thread::scope(|scope| {
        scope.spawn(|| view(index, &clock));
        scope.spawn(|| release(index, &clock));
        let (mut random, mut updates) = (Random::new(4), Updates::new());
        let failure = (0..COMMITS).find_map(|commit| {
            updates.clear();
            updates.put(&random.below(500).to_be_bytes(), &[commit as u8; 40]);
            // After that the next account is whole.
            if commit % 4 > 0 {
                let newest = *index.roots().last().expect("one is always there");
                index.reset_to(newest).expect("it is there");
            }
            index.apply(&updates, None).expect("a sound batch");
            clock.writes.store(0, Ordering::Release);
            clock.commits.fetch_add(1, Ordering::AcqRel);
            index.commit().expect("space");
            check(&storage)
                .err()
                .map(|error| format!("{what}, commit {commit}: {error}"))
        });
        clock.done.store(true, Ordering::Relaxed);
        assert_eq!(failure, None);
    });
    storage.on_op(None);
    assert_sound(index);
}

/// What a process that is killed now leaves can be opened, and every root that the file names can be read.
fn check(storage: &FaultStorage) -> kodiak_core::Result<()> {
    let file = IndexFile::open(storage, Path::new(PATH))?;
    for Root(root) in file.roots() {
        for entry in file.view(Root(root))?.range(..) {
            entry?;
        }
    }
    Ok(())
}

#[test]
fn whatever_ends_while_a_commit_is_written_the_file_can_be_opened() {
    for factory in kodiak_indexes::ALL {
        for compression in ["lz4", "none"] {
            run(factory, compression);
        }
    }
}
