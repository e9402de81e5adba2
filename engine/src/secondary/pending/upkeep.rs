//! Bringing up to date what is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kodiak_core::entry::MAX_SEQ;
use kodiak_core::memtable::Memtable;
use kodiak_core::varint::put_u64;
use kodiak_core::{EntryRef, Error, ErrorKind, Op, Result, SeqNo};

use super::{Kept, Pending};
use crate::components::Room;
use crate::db::Shared;
use crate::secondary::scope::{RowReader, Scope};
use crate::secondary::source::{PendingRow, each_pending};

/// As few changes as this are no reason to resolve all rows anew.
const FEW: usize = 1024;
/// Snapshots that are remembered to be complete.
const MOMENTS: usize = 64;
/// What a row that can expire takes in memory beside its key.
const EXPIRING: usize = 64;

/// What whoever changes `kept` knows of it.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// Moments before the complete one that are complete, too.
    moments: Vec<SeqNo>,
    /// Of a table with a TTL: rows by the oldest version that they are made of. When that expires, they change.
    expiring: BTreeSet<(SeqNo, Vec<u8>)>,
    expiring_bytes: usize,
    /// Entries that may be added until it is time to begin anew.
    left: usize,
    /// What it takes of the memory.
    room: Option<Room>,
    /// It did not fit when so many rows had been forgotten.
    too_large: Option<usize>,
}

/// A reader that brings up to date what is kept.
pub(super) struct Job<'p> {
    pending: &'p Pending,
    shared: &'p Shared,
    upkeep: &'p mut Upkeep,
}

impl<'p> Job<'p> {
    pub fn new(pending: &'p Pending, shared: &'p Shared, upkeep: &'p mut Upkeep) -> Self {
        Self {
            pending,
            shared,
            upkeep,
        }
    }

    /// A scope with what is kept for it: the newest one, or a snapshot's.
    pub fn keep(&mut self, scope: &Scope, snapshot: bool) -> Result<Scope> {
        let mut newest = self.newest(scope)?;
        let mut kept = self.pending.kept.load_full();
        if kept.as_ref().is_none_or(|kept| self.is_over(kept, &newest)) {
            // Before rows are looked for: each is found, or noted by its writer.
            let begun = self.begin();
            newest = self.newest(scope)?;
            kept = if begun { self.resolve_all(&newest)? } else { None };
        }
        let mut wanted = newest;
        if snapshot {
            wanted.seq = scope.seq;
        }
        if let Some(kept) = kept
            && self.complete(kept, &wanted, snapshot)?
        {
            wanted.kept = self.pending.kept.load().as_ref().map(|kept| Arc::clone(&kept.entries));
        }
        Ok(wanted)
    }

    /// The newest moment, in a view that has all that is visible then, and so all that was noted of it.
    fn newest(&self, scope: &Scope) -> Result<Scope> {
        let (table, shared) = (&scope.table, self.shared);
        loop {
            let view = table.view.load_full();
            let seq = shared.visible();
            // What became visible in between may lie in a memtable of the next view.
            if Arc::ptr_eq(&view, &table.view.load()) {
                let hidden_below = table.hidden_below(|| shared.now_micros());
                return Scope::of(table, view, &scope.index.index, seq, hidden_below);
            }
        }
    }

    /// Makes what is kept complete at a moment; false if that cannot be.
    fn complete(&mut self, kept: Arc<Kept>, wanted: &Scope, snapshot: bool) -> Result<bool> {
        let table = &wanted.table;
        if kept.schema != table.schemas.at(wanted.seq).number() {
            return Ok(false);
        }
        if kept.complete <= wanted.seq {
            if !self.go_on(&kept, wanted)? {
                self.drop_too_large();
                return Ok(false);
            }
        } else if table.options.ttl_micros > 0 {
            // Rows of the past expire, too.
            return Ok(false);
        } else if self.upkeep.moments.contains(&wanted.seq) {
            return Ok(true);
        } else if self.add_all(&kept.entries, wanted)?.is_none() {
            return Ok(false);
        }
        if snapshot {
            self.upkeep.moments.truncate(MOMENTS - 1);
            self.upkeep.moments.insert(0, wanted.seq);
        }
        Ok(true)
    }

    fn is_over(&self, kept: &Kept, newest: &Scope) -> bool {
        kept.schema != newest.table.schemas.at(newest.seq).number()
            || kept.hidden_below > newest.hidden_below
            || kept.complete > newest.seq
            || self.upkeep.left == 0
            || self.pending.forgotten.load(Ordering::Relaxed) > kept.most_forgotten
            || self.pending.noted.lock().lost
    }

    /// Forgets everything, and has writers note rows; false if all of it would not fit.
    fn begin(&mut self) -> bool {
        let forgotten = self.pending.forgotten.load(Ordering::Relaxed);
        if let Some(then) = self.upkeep.too_large
            && forgotten.saturating_sub(then) < FEW
        {
            return false;
        }
        self.pending.drop_kept(self.upkeep);
        let mut noted = self.pending.noted.lock();
        noted.on = true;
        noted.most = usize::MAX;
        true
    }

    /// Resolves all pending rows at the newest moment; `None` if there is no room.
    fn resolve_all(&mut self, newest: &Scope) -> Result<Option<Arc<Kept>>> {
        let components = self.shared.resolved.components();
        let factory = components.memtables().iter().next();
        let factory = factory.ok_or_else(|| Error::new(ErrorKind::Unsupported, "there is no memtable"))?;
        let entries = factory.create_default(0)?;
        let forgotten = self.pending.forgotten.load(Ordering::Relaxed);
        self.upkeep.room = Some(self.shared.secondary_pools.beside());
        self.upkeep.left = usize::MAX;
        let Some(all) = self.add_all(&entries, newest)? else {
            self.drop_too_large();
            return Ok(None);
        };
        let most = all.max(FEW);
        self.upkeep.left = most;
        let kept = Arc::new(Kept {
            entries,
            schema: newest.table.schemas.at(newest.seq).number(),
            complete: newest.seq,
            hidden_below: newest.hidden_below,
            most_forgotten: forgotten + most,
        });
        self.put_in_force(Arc::clone(&kept), most);
        Ok(Some(kept))
    }

    /// Resolves what has changed up to a moment; false if there is no room.
    fn go_on(&mut self, kept: &Kept, to: &Scope) -> Result<bool> {
        let noted = self.pending.take_noted(to.seq);
        let mut rows: BTreeMap<Vec<u8>, SeqNo> = noted.into_iter().collect();
        if to.hidden_below > kept.hidden_below {
            self.upkeep.moments.clear();
            let unexpired = self.upkeep.expiring.split_off(&(to.hidden_below, Vec::new()));
            for (_, key) in std::mem::replace(&mut self.upkeep.expiring, unexpired) {
                self.upkeep.expiring_bytes -= key.len() + EXPIRING;
                rows.insert(key, to.seq);
            }
        }
        let rows: Vec<PendingRow> = rows.into_iter().collect();
        let reader = RowReader::new(to.clone())?;
        for part in rows.chunks(FEW) {
            if !self.add(&kept.entries, &reader, part)? {
                return Ok(false);
            }
        }
        let most = self.pending.noted.lock().most;
        let now = Kept {
            entries: Arc::clone(&kept.entries),
            complete: to.seq,
            hidden_below: to.hidden_below,
            ..*kept
        };
        self.put_in_force(Arc::new(now), most);
        Ok(true)
    }

    /// Adds what all pending rows resolve to at a moment, and notes those that are newer; how many there are, or `None` if there is
    /// no room.
    fn add_all(&mut self, entries: &Arc<dyn Memtable>, at: &Scope) -> Result<Option<usize>> {
        let reader = RowReader::new(at.clone())?;
        let (mut all, mut fits) = (0, true);
        each_pending(&reader.scope, &mut |rows| {
            all += rows.len();
            let newer = rows.iter().filter(|(_, newest)| *newest > at.seq);
            newer.for_each(|(key, newest)| self.pending.note(key, *newest));
            fits = fits && self.add(entries, &reader, rows)?;
            Ok(fits)
        })?;
        Ok(fits.then_some(all))
    }

    /// Adds what rows resolve to; false if there is no room.
    fn add(&mut self, entries: &Arc<dyn Memtable>, reader: &RowReader, rows: &[PendingRow]) -> Result<bool> {
        let expires = reader.scope.table.options.ttl_micros > 0;
        for row in reader.resolve(rows)? {
            if expires {
                let bytes = row.key.len() + EXPIRING;
                if self.upkeep.expiring.insert((row.oldest, row.key)) {
                    self.upkeep.expiring_bytes += bytes;
                }
            }
            let Some((entry, len)) = row.entry else { continue };
            if entries.get(&entry, MAX_SEQ).is_some() {
                continue;
            }
            let mut value = Vec::with_capacity(3);
            put_u64(&mut value, len as u64);
            entries.insert(EntryRef {
                key: &entry,
                seq: 0,
                op: Op::Put,
                value: &value,
            })?;
            self.upkeep.left = self.upkeep.left.saturating_sub(1);
        }
        let bytes = entries.memory() + self.upkeep.expiring_bytes;
        Ok(self.upkeep.room.as_mut().is_some_and(|room| room.resize(bytes)))
    }

    fn put_in_force(&self, kept: Arc<Kept>, most_noted: usize) {
        self.pending.kept.store(Some(kept));
        let mut noted = self.pending.noted.lock();
        noted.most = most_noted;
        self.pending.waiting.store(noted.waiting(), Ordering::Release);
    }

    fn drop_too_large(&mut self) {
        self.pending.drop_kept(self.upkeep);
        self.upkeep.too_large = Some(self.pending.forgotten.load(Ordering::Relaxed));
    }
}
