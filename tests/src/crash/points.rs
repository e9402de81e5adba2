//! Carrying out a script while taking images of what a crash would leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use kodiak::SyncMode;
use kodiak::core::storage::Storage;
use kodiak_storage::{BlockSize, CrashOptions, FaultStorage, Moment, OnOp};
use parking_lot::Mutex;

use super::model::Model;
use super::script::{Running, Setup, Step};

/// What had happened when an image was taken. Numbers are of steps.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// So many were promised to survive what the image is of.
    pub kept: usize,
    /// So many were promised to survive a power loss.
    pub durable: usize,
    /// So many had succeeded.
    pub acknowledged: usize,
    /// So many had been begun.
    pub issued: usize,
}

/// An image.
#[derive(Debug)]
pub struct Point {
    /// What is left.
    pub image: FaultStorage,
    /// What must be in it.
    pub bounds: Bounds,
    /// Where and how it was taken, for messages.
    pub label: String,
}

/// How far a script has come.
#[derive(Debug, Default)]
pub struct Progress {
    issued: AtomicUsize,
    acknowledged: AtomicUsize,
    durable: AtomicUsize,
}

impl Progress {
    /// A step begins.
    pub fn issue(&self, step: usize) {
        self.issued.store(step + 1, Ordering::SeqCst);
    }

    /// It has succeeded.
    pub fn acknowledge(&self, step: usize, kind: &Step, sync: SyncMode) {
        // Whatever makes the log or the runs durable makes all writes so. DDL says nothing about writes.
        let durable = match kind {
            Step::Write(_) => sync == SyncMode::Full,
            Step::Create(_) | Step::Drop(_) | Step::Choose(..) => self.durable.load(Ordering::SeqCst) == step,
            Step::Flush | Step::Compact | Step::Sync | Step::Reopen => true,
        };
        if durable {
            self.durable.store(step + 1, Ordering::SeqCst);
        }
        self.acknowledged.store(step + 1, Ordering::SeqCst);
    }

    /// Takes an image; what it must hold is read before, what it may hold after.
    fn image<T>(&self, kill: bool, sync: SyncMode, take: impl FnOnce() -> T) -> (T, Bounds) {
        let durable = self.durable.load(Ordering::SeqCst);
        let acknowledged = self.acknowledged.load(Ordering::SeqCst);
        let image = take();
        let issued = self.issued.load(Ordering::SeqCst);
        let kept = if kill && sync != SyncMode::None {
            acknowledged
        } else {
            durable
        };
        (
            image,
            Bounds {
                kept,
                durable,
                acknowledged,
                issued,
            },
        )
    }
}

/// The ways in which images are taken, by turns: how much survives, in which unit; `None` for a killed process.
pub const WAYS: [Option<(u8, BlockSize)>; 9] = [
    Some((0, BlockSize::Page)),
    Some((50, BlockSize::Sector)),
    None,
    Some((10, BlockSize::Page)),
    Some((100, BlockSize::Page)),
    Some((50, BlockSize::Page)),
    Some((10, BlockSize::Sector)),
    Some((90, BlockSize::Sector)),
    Some((90, BlockSize::Page)),
];

/// The outcome of a script.
#[derive(Debug)]
pub struct Collected {
    /// The images.
    pub points: Vec<Point>,
    /// What each prefix of the script leaves.
    pub model: Model,
    /// Mutating operations of the whole run.
    pub mutations: u64,
}

/// The mutating operations at which images are taken: one in so many, from the first one on.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    every: u64,
    first: u64,
}

impl Sample {
    /// No operation.
    pub const NONE: Self = Self::every(u64::MAX);

    /// One in `every`.
    pub const fn every(every: u64) -> Self {
        Self { every, first: 0 }
    }

    /// The same, cut into `turns` that have few images at a time: each operation is in one of them.
    pub fn turns(self, turns: u64) -> impl Iterator<Item = Self> {
        (0..turns).map(move |turn| Self {
            every: self.every * turns,
            first: self.first + self.every * turn,
        })
    }

    /// Which image the one at `mutation` is; `None` if there is none.
    fn number(self, mutation: u64) -> Option<u64> {
        let since = mutation.checked_sub(self.first)?;
        since.is_multiple_of(self.every).then(|| since / self.every)
    }
}

/// Carries the script of `setup` out on `storage` (through `wrap`, which may disturb it) and takes images at the operations of
/// `sample`.
///
/// # Errors
/// A step that failed: without faults none may.
pub fn collect(
    setup: &Setup,
    sample: Sample,
    storage: &FaultStorage,
    wrap: &dyn Fn(Arc<FaultStorage>) -> Arc<dyn Storage>,
) -> Result<Collected, String> {
    collect_watched(setup, sample, storage, wrap, None)
}

/// As [`collect`], and each operation is also told to `watch`.
///
/// # Errors
/// As [`collect`].
pub fn collect_watched(
    setup: &Setup,
    sample: Sample,
    storage: &FaultStorage,
    wrap: &dyn Fn(Arc<FaultStorage>) -> Arc<dyn Storage>,
    watch: Option<OnOp>,
) -> Result<Collected, String> {
    let steps = setup.steps();
    let model = Model::new(&steps);
    let progress = Arc::new(Progress::default());
    let points = Arc::new(Mutex::new(Vec::new()));
    let camera = observer(setup, sample, storage, &progress, &points);
    let told: OnOp = match watch {
        None => camera,
        Some(watch) => Arc::new(move |event| {
            watch(event);
            camera(event);
        }),
    };
    storage.on_op(Some(told));
    let wrapped = wrap(Arc::new(storage.clone()));
    let builder = || setup.builder().storage(Arc::clone(&wrapped));
    let outcome = run(setup, &steps, &progress, &builder);
    storage.on_op(None);
    outcome?;
    let points = std::mem::take(&mut *points.lock());
    Ok(Collected {
        points,
        model,
        mutations: storage.mutations(),
    })
}

fn observer(
    setup: &Setup,
    sample: Sample,
    storage: &FaultStorage,
    progress: &Arc<Progress>,
    points: &Arc<Mutex<Vec<Point>>>,
) -> OnOp {
    let (setup, storage) = (setup.clone(), storage.clone());
    let (progress, points) = (Arc::clone(progress), Arc::clone(points));
    let taken = AtomicU64::new(setup.seed);
    Arc::new(move |event| {
        let Some(mutation) = event.mutation else { return };
        let Some(number) = sample.number(mutation) else { return };
        let wanted = if number.is_multiple_of(2) {
            Moment::Before
        } else {
            Moment::After
        };
        if event.moment != wanted {
            return;
        }
        let number = taken.fetch_add(1, Ordering::Relaxed);
        let way = WAYS[number as usize % WAYS.len()];
        let (image, bounds) = progress.image(way.is_none(), setup.sync, || match way {
            Some((survival, block)) => storage.crash_image(&CrashOptions::new(survival, block, setup.seed ^ mutation)),
            None => storage.kill_image(),
        });
        let how = match way {
            Some((survival, block)) => format!("power loss, {survival} % survive by {block:?}"),
            None => "killed process".to_owned(),
        };
        let label = format!(
            "{wanted:?} mutation {mutation} ({:?} {}), {how}, wal {} sync {} seed {}",
            event.kind,
            event.path.display(),
            setup.wal,
            setup.sync.name(),
            setup.seed,
        );
        points.lock().push(Point { image, bounds, label });
    })
}

fn run(
    setup: &Setup,
    steps: &[Step],
    progress: &Progress,
    builder: &dyn Fn() -> kodiak::Builder,
) -> Result<(), String> {
    let failed = |step: usize, error: kodiak::Error| format!("step {step} {:?} failed: {error:?}", steps.get(step));
    let mut running = Running::of(setup);
    running
        .open(builder())
        .map_err(|error| format!("the first opening failed: {error:?}"))?;
    for (number, step) in steps.iter().enumerate() {
        progress.issue(number);
        running.step(step, builder).map_err(|error| failed(number, error))?;
        progress.acknowledge(number, step, setup.sync);
    }
    running.close().map_err(|error| failed(steps.len(), error))
}
