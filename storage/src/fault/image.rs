//! What is left after a power loss.

use super::content::SECTOR;
use crate::clock::SplitMix;

/// The unit in which unsynced bytes survive or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BlockSize {
    /// 512 bytes, the unit that disks write atomically.
    Sector,
    /// 4096 bytes, the unit in which the page cache writes back.
    #[default]
    Page,
}

/// How much of what was not synced a power loss leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CrashOptions {
    /// The chance, in percent, of each unsynced block, each growth of a file and each directory operation to survive. 0 leaves
    /// exactly what was synced, 100 everything but what a failed sync has dropped.
    pub survival: u8,
    /// What survives as one.
    pub block: BlockSize,
    /// The same seed on the same history leaves the same.
    pub seed: u64,
}

impl CrashOptions {
    /// Only what was synced is left.
    pub const SYNCED_ONLY: Self = Self {
        survival: 0,
        block: BlockSize::Page,
        seed: 0,
    };

    /// Each unsynced block survives with a chance of `survival` percent.
    pub fn new(survival: u8, block: BlockSize, seed: u64) -> Self {
        Self { survival, block, seed }
    }
}

/// Decides what survives.
#[derive(Debug)]
pub(super) struct Dice {
    survival: u64,
    random: SplitMix,
}

impl Dice {
    pub(super) fn new(options: &CrashOptions) -> Self {
        Self {
            survival: u64::from(options.survival),
            random: SplitMix::new(options.seed),
        }
    }

    pub(super) fn survives(&mut self) -> bool {
        self.random.next() % 100 < self.survival
    }

    /// The length of a file that has grown: the new one, the old one, or, as blocks are allocated one by one, one between.
    pub(super) fn length(&mut self, old: u64, new: u64) -> u64 {
        if self.survives() || new <= old {
            return new;
        }
        if self.survival == 0 || self.random.next().is_multiple_of(2) {
            return old;
        }
        let between = old + self.random.next() % (new - old);
        (between - between % SECTOR as u64).max(old)
    }
}
