//! Passing keys with all their versions.
//!
//! Most keys that are passed have a newer version in a small source (a delete, or an overwrite in a memtable) and an older one in the
//! large source that the tournament keeps apart. The older one is passed first, without a match, while the newer one still has the key.

use std::cmp::Ordering;

use kodiak_core::entry::wide_prefix_of;
use kodiak_core::{EntryRef, Op, Result, SeqNo};

use super::{MergedCursor, Source, before_in_full, order_of};
use crate::read::tournament::Head;

/// So many keys are passed at once at most: a compaction must notice that the database is closing.
const AT_ONCE: u64 = 1024;

impl MergedCursor {
    /// With the cursor, going forward, on a key whose newest version visible at `seq` is a delete: passes it, and the keys after it and before
    /// `end` for as long as the same is known of them and they are not too many. Returns how many keys those were; `key` is room for one.
    pub fn pass_deleted(&mut self, seq: SeqNo, end: Option<&[u8]>, key: &mut Vec<u8>) -> Result<u64> {
        if !self.in_field() {
            return self.leave_key(key).map(|()| 1);
        }
        self.pass_in_field(key, |entry, apart| {
            entry.op == Op::Delete
                && entry.seq <= seq
                && end.is_none_or(|end| entry.key < end)
                && apart.is_none_or(|apart| comes_after(apart, &entry))
        })
    }

    /// True if the current entry is of another source than the one that is kept apart, going forward.
    #[inline]
    pub(super) fn in_field(&self) -> bool {
        !self.reverse && self.tournament.first().source != self.tournament.apart().source
    }

    /// Passes every version of the key under the cursor, which it puts into `key`, and of those after it for as long as `more` says so of the
    /// first entry of a key; it is told of the source that is kept apart if that may have an earlier one. Returns how many keys that were.
    ///
    /// Only where [`in_field`](Self::in_field) is true.
    #[inline]
    pub(super) fn pass_in_field(
        &mut self,
        key: &mut Vec<u8>,
        more: impl Fn(EntryRef<'_>, Option<&Source>) -> bool,
    ) -> Result<u64> {
        let Some(current) = self.top().and_then(Source::key) else {
            return Ok(0);
        };
        key.clear();
        key.extend_from_slice(current);
        let mut keys = 0;
        let passed = loop {
            keys += 1;
            match self.pass_one(key, &more) {
                Ok(true) if keys < AT_ONCE => {}
                Ok(_) => break Ok(keys),
                Err(error) => break Err(error),
            }
        };
        let (sources, tournament) = (&self.sources, &mut self.tournament);
        tournament.settle_field(|left, right| before_in_full(sources, false, left, right));
        passed
    }

    /// Passes `key`, under the cursor; true if the next one, which it puts there, is to be passed as well.
    #[inline]
    fn pass_one(&mut self, key: &mut Vec<u8>, more: impl Fn(EntryRef<'_>, Option<&Source>) -> bool) -> Result<bool> {
        let Self {
            sources,
            tournament,
            account,
            ..
        } = self;
        let prefix = wide_prefix_of(key);
        let Head {
            prefix: mut older,
            source: apart,
        } = tournament.apart();
        if older == prefix
            && let Some(source) = sources.get_mut(apart as usize)
        {
            while older == prefix && source.key().is_some_and(|own| same_end(own, key)) {
                source.next()?;
                account.rows += 1;
                older = order_of(source.key(), false);
            }
            tournament.advance_apart(older);
        }
        loop {
            let at = tournament.first_in_field().source;
            if let Some(source) = sources.get_mut(at as usize) {
                source.next()?;
            }
            account.rows += 1;
            let source = |source: u32| sources.get(source as usize);
            // All that there is to know of a memtable's entry comes at once, and of a run's only its key.
            let (known, next) = match source(at) {
                Some(Source::Memory(cursor)) => {
                    let entry = cursor.entry();
                    (entry, order_of(entry.map(|entry| entry.key), false))
                }
                other => (None, order_of(other.and_then(Source::key), false)),
            };
            tournament.advance_field(next, |left, right| before_in_full(sources, false, left, right));
            let first = tournament.first_in_field();
            let entry = match known.filter(|_| first.source == at) {
                None => source(first.source).and_then(Source::entry),
                known => known,
            };
            let Some(entry) = entry else { return Ok(false) };
            if first.prefix == prefix && same_end(entry.key, key) {
                continue;
            }
            let next = match older.cmp(&first.prefix) {
                Ordering::Less => false,
                Ordering::Equal => more(entry, source(apart)),
                Ordering::Greater => more(entry, None),
            };
            if next {
                key.clear();
                key.extend_from_slice(entry.key);
            }
            return Ok(next);
        }
    }
}

/// How two keys compare that begin with the same [prefix](wide_prefix_of).
#[inline]
fn compare_ends(left: &[u8], right: &[u8]) -> Ordering {
    // Prefixes of short keys are filled up with zeros.
    match left.len().max(right.len()) <= size_of::<u128>() {
        true => left.len().cmp(&right.len()),
        false => left.cmp(right),
    }
}

/// True if two keys that begin with the same prefix are the same.
#[inline]
fn same_end(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && compare_ends(left, right).is_eq()
}

/// True if the current entry of a run is known to come after another one whose key begins with the same prefix.
#[inline]
fn comes_after(run: &Source, entry: &EntryRef<'_>) -> bool {
    let Source::Run(cursor) = run else { return false };
    cursor
        .rows()
        .is_none_or(|(rows, row)| match compare_ends(rows.key(row), entry.key) {
            Ordering::Less => false,
            Ordering::Equal => rows.plain().is_some_and(|newest| newest < entry.seq),
            Ordering::Greater => true,
        })
}

#[cfg(test)]
mod tests;
