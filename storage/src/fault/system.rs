//! The system behind the handles: it numbers operations, decides which fail, tells about them, and takes images.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::image::CrashOptions;
use super::plan::{Fault, FaultPlan, Moment, OpEvent, OpKind};
use super::tree::{FileRef, Tree};
use crate::buffered::uninterrupted;
use crate::clock::{SplitMix, TestClock};
use crate::memory::FROZEN_MICROS;

/// Called before and after each operation.
pub type OnOp = Arc<dyn Fn(&OpEvent) + Send + Sync>;

/// An operation that is asked for.
#[derive(Clone, Copy)]
pub(super) struct Op<'a> {
    kind: OpKind,
    pub(super) path: &'a Path,
    to: Option<&'a Path>,
    file: Option<&'a FileRef>,
    offset: u64,
    len: u64,
}

impl<'a> Op<'a> {
    pub(super) fn new(kind: OpKind, path: &'a Path) -> Self {
        Self {
            kind,
            path,
            to: None,
            file: None,
            offset: 0,
            len: 0,
        }
    }

    pub(super) fn to(self, to: &'a Path) -> Self {
        Self { to: Some(to), ..self }
    }

    pub(super) fn file(self, file: &'a FileRef) -> Self {
        Self {
            file: Some(file),
            ..self
        }
    }

    pub(super) fn range(self, offset: u64, len: u64) -> Self {
        Self { offset, len, ..self }
    }

    fn event(&self, number: u64, mutation: Option<u64>) -> OpEvent {
        OpEvent {
            number,
            mutation,
            kind: self.kind,
            path: self.path.to_owned(),
            to: self.to.map(Path::to_owned),
            offset: self.offset,
            len: self.len,
            moment: Moment::Before,
            error: None,
            unsynced_bytes: self.file.map_or(0, |file| file.lock().unsynced_bytes()),
        }
    }
}

#[derive(Debug)]
struct Armed {
    mutation: u64,
    moment: Moment,
    options: CrashOptions,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) tree: Tree,
    pub(super) plan: FaultPlan,
    pub(super) counts: BTreeMap<OpKind, u64>,
    pub(super) trace: Option<Vec<OpEvent>>,
    armed: Option<Armed>,
    image: Option<Box<System>>,
}

impl State {
    pub(super) fn arm(&mut self, mutation: u64, moment: Moment, options: CrashOptions) {
        self.armed = Some(Armed {
            mutation,
            moment,
            options,
        });
        self.image = None;
    }

    pub(super) fn take_image(&mut self) -> Option<System> {
        self.image.take().map(|image| *image)
    }

    /// What a failing operation does to what it should have saved.
    fn fail(&mut self, op: &Op<'_>) {
        match (op.kind, op.file) {
            (OpKind::Sync, Some(file)) => file.lock().drop_unsynced(),
            (OpKind::SyncDir, _) => {
                if let Ok(dir) = self.tree.dir(op.path) {
                    dir.lock().drop_unsynced();
                }
            }
            _ => {}
        }
    }
}

pub(super) struct System {
    pub(super) state: Mutex<State>,
    pub(super) clock: TestClock,
    pub(super) random: SplitMix,
    operations: AtomicU64,
    mutations: AtomicU64,
    callback: RwLock<Option<OnOp>>,
    /// True if somebody wants to know of events: a callback or the trace.
    observed: AtomicBool,
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System")
            .field("operations", &self.operations())
            .finish_non_exhaustive()
    }
}

impl System {
    pub(super) fn new(seed: Option<u64>) -> Self {
        let (clock, random) = match seed {
            Some(seed) => (TestClock::frozen(FROZEN_MICROS), SplitMix::new(seed)),
            None => (TestClock::running(), SplitMix::arbitrary()),
        };
        Self::with(Tree::default(), clock, random)
    }

    fn with(tree: Tree, clock: TestClock, random: SplitMix) -> Self {
        Self {
            state: Mutex::new(State {
                tree,
                ..State::default()
            }),
            clock,
            random,
            operations: AtomicU64::new(0),
            mutations: AtomicU64::new(0),
            callback: RwLock::new(None),
            observed: AtomicBool::new(false),
        }
    }

    pub(super) fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    pub(super) fn mutations(&self) -> u64 {
        self.mutations.load(Ordering::Relaxed)
    }

    pub(super) fn set_callback(&self, callback: Option<OnOp>) {
        *self.callback.write() = callback;
        self.observe();
    }

    pub(super) fn record(&self, on: bool) {
        self.state.lock().trace = on.then(Vec::new);
        self.observe();
    }

    fn observe(&self) {
        let wanted = self.callback.read().is_some() || self.state.lock().trace.is_some();
        self.observed.store(wanted, Ordering::Relaxed);
    }

    pub(super) fn crash_image(&self, state: &State, options: &CrashOptions) -> Self {
        // Another one than that of any image before: files are named by it.
        let random = self.random.branch(options.seed ^ self.operations());
        Self::with(state.tree.survivor(options), self.clock.duplicate(), random)
    }

    pub(super) fn kill_image(&self, state: &State) -> Self {
        Self::with(
            state.tree.duplicate(),
            self.clock.duplicate(),
            self.random.branch(self.operations()),
        )
    }

    /// Does an operation, unless the plan makes it fail, as often as it is interrupted.
    pub(super) fn run<T>(
        &self,
        op: Op<'_>,
        mut apply: impl FnMut(&mut State, Option<Fault>) -> io::Result<T>,
    ) -> io::Result<T> {
        uninterrupted(|| self.run_once(op, &mut apply))
    }

    /// Does an operation, unless the plan makes it fail; one system call.
    pub(super) fn run_once<T>(
        &self,
        op: Op<'_>,
        apply: impl FnOnce(&mut State, Option<Fault>) -> io::Result<T>,
    ) -> io::Result<T> {
        let number = self.operations.fetch_add(1, Ordering::Relaxed) + 1;
        let mutation = op
            .kind
            .mutates()
            .then(|| self.mutations.fetch_add(1, Ordering::Relaxed) + 1);
        let mut event = self
            .observed
            .load(Ordering::Relaxed)
            .then(|| op.event(number, mutation));
        self.tell(event.as_ref());

        let mut state = self.state.lock();
        *state.counts.entry(op.kind).or_default() += 1;
        self.photograph(&mut state, mutation, Moment::Before);
        let fault = state.plan.decide(op.kind, op.path);
        let result = match fault.and_then(Fault::error) {
            Some(error) => {
                if error.kind() != io::ErrorKind::Interrupted {
                    state.fail(&op);
                }
                Err(error)
            }
            None => apply(&mut state, fault),
        };
        self.photograph(&mut state, mutation, Moment::After);
        if let Some(event) = &mut event {
            event.moment = Moment::After;
            event.error = result.as_ref().err().map(io::Error::kind);
            event.unsynced_bytes = op.file.map_or(0, |file| file.lock().unsynced_bytes());
            if let Some(trace) = &mut state.trace {
                trace.push(event.clone());
            }
        }
        drop(state);
        self.tell(event.as_ref());
        result
    }

    fn tell(&self, event: Option<&OpEvent>) {
        let Some(event) = event else { return };
        // A copy, so that the callback may replace itself.
        let callback = self.callback.read().clone();
        if let Some(callback) = callback {
            callback(event);
        }
    }

    /// Takes the armed image if its moment has come.
    fn photograph(&self, state: &mut State, mutation: Option<u64>, moment: Moment) {
        let Some(number) = mutation else { return };
        let due = |armed: &mut Armed| armed.mutation == number && armed.moment == moment;
        if let Some(armed) = state.armed.take_if(due) {
            state.image = Some(Box::new(self.crash_image(state, &armed.options)));
        }
    }
}
