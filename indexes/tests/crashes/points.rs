//! Images of what a crash leaves at the operations of a script.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kodiak_core::conformance::index::Random;
use kodiak_storage::{BlockSize, CrashOptions, FaultStorage, Moment};
use parking_lot::Mutex;

use crate::beside::{Beside, Bounds, beside};
use crate::script::{Script, States};
use crate::setup::Setup;

/// An image.
#[derive(Debug)]
pub struct Point {
    pub image: FaultStorage,
    pub bounds: Bounds,
    /// What is in it need not be on the disk: the process was killed.
    pub killed: bool,
    /// Where and how it was taken, for messages.
    pub label: String,
}

/// A power loss that leaves so much of what was not synced, or a process that is killed.
pub type Way = Option<(u8, BlockSize)>;

pub const WAYS: [Way; 7] = [
    Some((0, BlockSize::Page)),
    Some((10, BlockSize::Sector)),
    Some((10, BlockSize::Page)),
    Some((50, BlockSize::Sector)),
    Some((50, BlockSize::Page)),
    Some((100, BlockSize::Page)),
    None,
];

/// Takes an image.
pub fn take(storage: &FaultStorage, way: Way, salt: u64, bounds: Bounds, label: &str) -> Point {
    let (image, how) = match way {
        Some((survival, block)) => (
            storage.crash_image(&CrashOptions::new(survival, block, salt)),
            format!("{survival} % by {block:?} survive"),
        ),
        None => (storage.kill_image(), "killed".to_owned()),
    };
    Point {
        image,
        bounds,
        killed: way.is_none(),
        label: format!("{label}, {how}"),
    }
}

/// The points of one script, and what was found wrong while it was played.
#[derive(Debug, Default)]
pub struct Run {
    pub states: States,
    pub points: Vec<Point>,
    /// How many operations there were at which a crash may be.
    pub mutations: u64,
    pub failure: Option<String>,
}

/// Plays a script and takes images before and after its mutations: of all (mutations, moments, ways) one in `every`.
pub fn collect(setup: Setup, every: usize) -> Run {
    let storage = setup.storage();
    let mut script = Script::new(setup, &storage);
    let points = Arc::new(Mutex::new(Vec::new()));
    watch(&storage, setup.seed, every, &script.shared, &points);
    let failure = script.play().err();
    storage.on_op(None);
    let mutations = storage.mutations();
    drop(script.shared);
    let points = std::mem::take(&mut *points.lock());
    Run {
        states: script.states,
        points,
        mutations,
        failure,
    }
}

fn watch(
    storage: &FaultStorage,
    seed: u64,
    every: usize,
    shared: &Arc<Mutex<Beside>>,
    points: &Arc<Mutex<Vec<Point>>>,
) {
    let (shared, points, watched) = (Arc::clone(shared), Arc::clone(points), storage.clone());
    let random = Mutex::new(Random::new(seed ^ 0x57A7E));
    storage.on_op(Some(Arc::new(move |event| {
        let Some(mutation) = event.mutation else { return };
        beside(&shared, event);
        let bounds = shared.lock().bounds;
        for (number, way) in WAYS.into_iter().enumerate() {
            if random.lock().below(every) > 0 {
                continue;
            }
            let when = if event.moment == Moment::Before {
                "before"
            } else {
                "after"
            };
            let label = format!("seed {seed}: {when} mutation {mutation} ({:?})", event.kind);
            let salt = seed ^ mutation << 8 ^ number as u64;
            points.lock().push(take(&watched, way, salt, bounds, &label));
        }
    })));
}

/// Does something with every point on two threads; returns what went wrong.
pub fn on_all(points: &[Point], with: &(dyn Fn(usize, &Point) -> Result<(), String> + Sync)) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(point) = points.get(number) else { break };
                    if let Err(failure) = with(number, point) {
                        failures.lock().push(format!("{}: {failure}", point.label));
                    }
                }
            });
        }
    });
    failures.into_inner()
}
