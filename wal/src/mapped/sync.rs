//! How a mapped log gets to the disk: by one thread for all that wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kodiak_core::Result;
use kodiak_core::storage::LOG_BLOCK;
use kodiak_core::wal::SyncMode;
use parking_lot::MutexGuard;

use super::{Active, MappedLog, Place};
use crate::blocks::Blocks;
use crate::company::Company;
use crate::files::Segment;

/// After so many appends in mode `full` in a row, without any in another mode, records are gathered and written directly. To go back
/// costs a sync, which is nothing beside so many.
const DURABLE_RUN: u32 = 16;
/// Memory kept for gathering.
const KEEP_BYTES: usize = 1 << 20;

/// What the threads that sync agree on. Taken after `Place`, if both are.
#[derive(Debug, Default)]
pub(super) struct Syncing {
    /// Closed segments that were not synced to their end, with that, oldest first. Their mappings are gone: a log that is never
    /// synced would keep all its segments in memory.
    pub unsynced: Vec<(Arc<Segment>, u64)>,
    leading: bool,
    /// A thread that will lead waits for company. It holds nothing up that cannot wait.
    assembling: bool,
    company: Company,
    /// The memory of the records that were last gathered and written.
    idle: Blocks,
}

/// What is to be made durable: the active segment up to `end`.
#[derive(Debug)]
struct Round {
    active: Arc<Active>,
    end: u64,
    /// To be written first; everything before it was synced.
    gathered: Option<Blocks>,
}

impl Place {
    /// Takes what has gathered for a sync by this thread, which leaves `idle` in its place.
    fn round(&mut self, idle: &mut Blocks) -> Round {
        let gathered = self.gathered.as_mut().map(|gathered| {
            idle.follow(gathered);
            std::mem::replace(&mut **gathered, std::mem::take(idle))
        });
        Round {
            active: self.active.clone(),
            end: self.head.end,
            gathered,
        }
    }
}

impl MappedLog {
    /// Waits until the disk has the log up to position `target`; makes it so if nobody else is at it.
    pub(super) fn sync_to(&self, target: u64) -> Result<()> {
        while self.synced.load(Ordering::Acquire) < target {
            let mut syncing = self.syncing.lock();
            self.health.check()?;
            if syncing.leading || syncing.assembling {
                let seen = self.rounds.ended();
                drop(syncing);
                self.rounds.wait_beyond(seen);
                continue;
            }
            syncing.assembling = true;
            let company = syncing.company;
            drop(syncing);
            company.wait(&self.arrivals, self.files.storage.as_ref());
            let mut place = self.place.lock();
            let mut syncing = self.syncing.lock();
            syncing.assembling = false;
            let led = syncing.leading || self.synced.load(Ordering::Acquire) >= target;
            if !led && self.health.check().is_ok() {
                let round = place.round(&mut syncing.idle);
                drop(place);
                self.lead_sync(&mut syncing, round)?;
            } else {
                // Somebody who could not wait has led meanwhile, or still does, or has failed.
                self.rounds.end_one();
            }
        }
        Ok(())
    }

    /// As [`sync_to`](Self::sync_to), up to the last record, with `place` locked: at once, as others may be waiting for that.
    pub(super) fn sync_all(&self, place: &mut Place) -> Result<()> {
        let target = place.active.segment.base + place.head.end;
        let mut syncing = self.syncing.lock();
        while self.synced.load(Ordering::Acquire) < target {
            self.health.check()?;
            if syncing.leading {
                let seen = self.rounds.ended();
                MutexGuard::unlocked(&mut syncing, || self.rounds.wait_beyond(seen));
            } else {
                let round = place.round(&mut syncing.idle);
                self.lead_sync(&mut syncing, round)?;
            }
        }
        Ok(())
    }

    /// Syncs the closed segments, then the active one up to where the log ended when `syncing` was locked.
    fn lead_sync(&self, syncing: &mut MutexGuard<'_, Syncing>, mut round: Round) -> Result<()> {
        let unsynced = std::mem::take(&mut syncing.unsynced);
        syncing.leading = true;
        let alone = syncing.company.begin(&self.arrivals);
        let storage = self.files.storage.as_ref();
        let begun = storage.monotonic_nanos();
        let result = MutexGuard::unlocked(syncing, || {
            for (closed, end) in &unsynced {
                self.files.sync(closed, *end)?;
            }
            let (segment, end) = (&round.active.segment, round.end);
            self.metrics.time_sync(storage, || {
                self.files.wait_awake(alone, || match &mut round.gathered {
                    Some(gathered) => self.files.write_durably(segment, gathered),
                    None => self.files.sync(segment, end),
                })
            })?;
            Ok(segment.base + end)
        });
        syncing.leading = false;
        let nanos = storage.monotonic_nanos().saturating_sub(begun);
        syncing.company.end(&self.arrivals, nanos);
        if let Some(mut written) = round.gathered {
            written.shrink(KEEP_BYTES);
            syncing.idle = written;
        }
        let result = result
            .map(|position| self.synced.store(position, Ordering::Release))
            .map_err(|error| self.health.poison(&self.metrics, error));
        self.rounds.end_one();
        result
    }

    /// From now on records are gathered and written past the system's cache.
    #[cold]
    fn start_gathering(&self, place: &mut Place) -> Result<()> {
        self.sync_all(place)?;
        let block = place.head.end - place.head.end % LOG_BLOCK as u64;
        let mut there = vec![0; (place.head.end - block) as usize];
        let segment = &place.active.segment;
        if segment.file.read_at(block, &mut there)? == there.len() {
            let mut gathered = Box::<Blocks>::default();
            gathered.begin(segment.number, block, &there);
            place.gathered = Some(gathered);
        }
        Ok(())
    }

    /// From now on records go to the mapping.
    pub(super) fn stop_gathering(&self, place: &mut Place) -> Result<()> {
        if place.gathered.is_some() {
            self.sync_all(place)?;
            place.gathered = None;
        }
        Ok(())
    }

    /// Decides where the next record goes.
    #[inline]
    pub(super) fn choose_way(&self, place: &mut Place, mode: SyncMode) -> Result<()> {
        if mode != SyncMode::Full {
            if place.durable_run != 0 {
                place.durable_run = 0;
            }
            return self.stop_gathering(place);
        }
        place.durable_run = place.durable_run.saturating_add(1);
        if place.gathered.is_none() && self.direct_io && place.durable_run > DURABLE_RUN {
            self.start_gathering(place)?;
        }
        Ok(())
    }
}
