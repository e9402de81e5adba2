//! What a merged cursor reads from.

use kodiak_core::entry::{EntryCursor, wide_prefix_of};
use kodiak_core::{EntryRef, Result};

use crate::read::tournament::Head;
use crate::run::SortedRunCursor;

/// Runs that are read by turns have the processor fetch the row that comes so much later: it does not follow so many arrays by itself.
const AHEAD: usize = 8;

/// Something that a merged cursor reads from.
#[allow(
    clippy::large_enum_variant,
    reason = "a scan has few; boxing would allocate for each"
)]
pub enum Source {
    /// A memtable.
    Memory(Box<dyn EntryCursor>),
    /// A sorted run.
    Run(SortedRunCursor),
}

impl Source {
    /// The entry that it stands on; of a typed table's run, without its value.
    #[inline]
    pub(super) fn entry(&self) -> Option<EntryRef<'_>> {
        match self {
            Self::Memory(cursor) => cursor.entry(),
            Self::Run(cursor) => cursor.entry(),
        }
    }

    /// The key that it stands on.
    #[inline]
    pub(super) fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Memory(cursor) => cursor.entry().map(|entry| entry.key),
            Self::Run(cursor) => cursor.key(),
        }
    }

    /// To the next entry.
    #[inline]
    pub(super) fn next(&mut self) -> Result<()> {
        match self {
            Self::Memory(cursor) => cursor.next(),
            Self::Run(cursor) => {
                cursor.next()?;
                cursor.fetch_version(|row| row + AHEAD);
                Ok(())
            }
        }
    }

    /// To the entry before.
    #[inline]
    pub(super) fn prev(&mut self) -> Result<()> {
        match self {
            Self::Memory(cursor) => cursor.prev(),
            Self::Run(cursor) => {
                cursor.prev()?;
                cursor.fetch_version(|row| row.wrapping_sub(AHEAD));
                Ok(())
            }
        }
    }
}

/// What a source with this key is compared by first, [`Head::prefix`].
#[inline]
pub(super) fn order_of(key: Option<&[u8]>, reverse: bool) -> u128 {
    match key.map(wide_prefix_of) {
        Some(prefix) if reverse => !prefix,
        Some(prefix) => prefix,
        None => Head::EXHAUSTED,
    }
}
