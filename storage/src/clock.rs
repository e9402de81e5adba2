//! The clock and randomness of the storages that tests use.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};

/// Microseconds since 1970 by the system's clock; 0 before. Asked for each write: the standard library takes half as long again.
pub(crate) fn system_micros() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    u64::try_from(now.tv_sec).map_or(0, |seconds| seconds * 1_000_000 + now.tv_nsec as u64 / 1000)
}

/// Nanoseconds since this process first asked.
pub(crate) fn monotonic_nanos() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// What a [`TestClock`] shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The system's time, shifted by so many microseconds.
    Running { shift: i64 },
    /// Always this.
    Frozen { at: u64 },
}

/// A wall clock that a test can stop, set and make jump.
#[derive(Debug)]
pub(crate) struct TestClock(Mutex<Mode>);

impl TestClock {
    pub(crate) fn running() -> Self {
        Self(Mutex::new(Mode::Running { shift: 0 }))
    }

    pub(crate) fn frozen(at: u64) -> Self {
        Self(Mutex::new(Mode::Frozen { at }))
    }

    pub(crate) fn duplicate(&self) -> Self {
        Self(Mutex::new(*self.0.lock()))
    }

    pub(crate) fn now(&self) -> u64 {
        match *self.0.lock() {
            Mode::Running { shift } => system_micros().saturating_add_signed(shift),
            Mode::Frozen { at } => at,
        }
    }

    pub(crate) fn freeze(&self, at: u64) {
        *self.0.lock() = Mode::Frozen { at };
    }

    pub(crate) fn jump(&self, by: i64) {
        match &mut *self.0.lock() {
            Mode::Running { shift } => *shift = shift.saturating_add(by),
            Mode::Frozen { at } => *at = at.saturating_add_signed(by),
        }
    }

    pub(crate) fn run(&self) {
        *self.0.lock() = Mode::Running { shift: 0 };
    }
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014), callable by all threads.
#[derive(Debug)]
pub(crate) struct SplitMix(AtomicU64);

impl SplitMix {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// Seeded differently each time.
    pub(crate) fn arbitrary() -> Self {
        Self::new(RandomState::new().hash_one(system_micros()))
    }

    pub(crate) fn next(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        mixed(self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP))
    }

    /// Another sequence, which depends on this one and on `number`; nothing is drawn from this one.
    pub(crate) fn branch(&self, number: u64) -> Self {
        Self::new(mixed(self.0.load(Ordering::Relaxed) ^ mixed(number)))
    }
}

fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
