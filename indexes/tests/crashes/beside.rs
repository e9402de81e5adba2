//! What goes on beside a script: readers, and what other threads do while a commit writes.

use std::collections::BTreeSet;
use std::sync::Arc;

use kodiak_core::conformance::index::{Model, Random, entries};
use kodiak_core::index::{Index, IndexView, Root};
use kodiak_storage::{Moment, OpEvent, OpKind};
use parking_lot::Mutex;

/// Which root may be the newest after a crash; none if there need not be a file yet.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bounds {
    /// The last commit that has returned.
    pub least: Option<u64>,
    /// The one that runs.
    pub most: u64,
}

/// Views and what they must show.
type Readers = Vec<(Arc<dyn IndexView>, Arc<Model>)>;

/// What other threads do while a commit writes: they are played by calls from within its operations, so that a seed tells all.
#[derive(Debug)]
pub struct Beside {
    pub bounds: Bounds,
    random: Random,
    pub readers: Readers,
    /// The index, and the roots that may be released or read, while a commit runs.
    pub commit: Option<(Arc<dyn Index>, BTreeSet<u64>)>,
    pub released: BTreeSet<u64>,
}

impl Beside {
    pub fn new(seed: u64) -> Self {
        Self {
            bounds: Bounds::default(),
            random: Random::new(seed ^ 0xBE51DE),
            readers: Vec::new(),
            commit: None,
            released: BTreeSet::new(),
        }
    }

    /// A view ends, or a root is given up, at an operation of a commit. The view is returned: it is read once more before it is dropped,
    /// and no lock may be held then.
    fn act(&mut self, event: &OpEvent) -> Option<(Arc<dyn IndexView>, Arc<Model>)> {
        let (index, kept) = self.commit.as_mut()?;
        if !matches!(event.kind, OpKind::Write | OpKind::Sync) || self.random.below(10) > 0 {
            return None;
        }
        if self.random.below(2) == 0 && kept.len() > 1 {
            // Not the newest.
            let at = self.random.below(kept.len() - 1);
            let root = *kept.iter().nth(at).expect("within the set");
            if index.release(Root(root)).is_ok() {
                kept.remove(&root);
                self.released.insert(root);
            }
            return None;
        }
        let len = self.readers.len();
        (len > 0).then(|| self.readers.swap_remove(self.random.below(len)))
    }
}

/// To be called at each operation.
pub fn beside(shared: &Mutex<Beside>, event: &OpEvent) {
    let ended = match event.moment {
        Moment::Before => shared.lock().act(event),
        Moment::After => None,
    };
    if let Some((view, model)) = ended {
        read(&view, &model);
    }
}

/// A view shows what it did when it was opened.
pub fn read(view: &Arc<dyn IndexView>, model: &Model) {
    let found = entries(view).expect("a sound file");
    let found = found.iter().map(|(key, value)| (key, value));
    assert!(found.eq(model), "{} changed while a view held it", view.root());
}

/// Turns a panic, which is how comparisons fail, into an error.
pub fn caught<T>(what: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(what)).map_err(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "a panic".to_owned())
    })
}
