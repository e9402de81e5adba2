//! Whether the log still reaches as far as it did when the database was closed, or does while it is open.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kodiak_core::wal::RESCUE;
use kodiak_core::{Error, Result, SeqNo};

use super::shared::Shared;
use super::table_state::TableInner;
use crate::manifest::{Change, State, VersionEdit};

/// Compares the last sequence number that the log in `dir` holds with the one that it was closed at, if the manifest has noted one.
///
/// # Errors
/// `Corruption` that names the directory if the log ends before that.
pub(crate) fn check_log_end(state: &State, last_seq: SeqNo, dir: &Path) -> Result<()> {
    match state.log_end {
        Some(end) if last_seq < end => Err(ends_early(last_seq, &format!("was closed at {end}"), RESCUE, dir)),
        _ => Ok(()),
    }
}

/// As [`check_log_end`], of an open database: with what [`Shared::kept_in_log`] told before the log was synced and read.
///
/// # Errors
/// As [`check_log_end`].
pub(crate) fn check_open_log_end(kept: Option<SeqNo>, last_seq: SeqNo, dir: &Path) -> Result<()> {
    match kept {
        Some(end) if last_seq < end => {
            let advice = "what is in memory is whole: flush it, or make a checkpoint, before the database is closed";
            Err(ends_early(last_seq, &format!("was written up to {end}"), advice, dir))
        }
        _ => Ok(()),
    }
}

fn ends_early(last_seq: SeqNo, instead: &str, advice: &str, dir: &Path) -> Error {
    let message = format!(
        "the log ends at sequence number {last_seq}, but {instead}: segments, or the end of the last one, are missing; {advice}"
    );
    Error::corruption(message).with_file(dir)
}

impl Shared {
    /// The last sequence number that the log has, or will once it is synced, if it has anything that runs do not have; to be asked
    /// while nothing is flushed.
    pub(crate) fn kept_in_log(&self) -> Option<SeqNo> {
        let wal = self.wal.as_ref().filter(|_| self.logs_durably())?;
        let flushed = |table: Arc<TableInner>| table.view.load().slots().all(|slot| slot.is_empty());
        if self.all_tables().into_iter().all(flushed) {
            return None;
        }
        Some(match wal.stats().next_seq {
            0 => self.log_end.load(Ordering::Acquire),
            next_seq => next_seq - 1,
        })
    }

    /// At a clean end: the manifest remembers how far the log reaches, so that one that lacks its last segments is not taken for a
    /// shorter one. Nothing is noted if the log has nothing that runs do not have.
    pub(super) fn note_log_end(&self) -> Result<()> {
        let _no_flush = self.flushing.lock();
        let (Some(wal), Some(end)) = (self.wal.as_ref(), self.kept_in_log()) else {
            return Ok(());
        };
        // Writes that were under way when the database was closed.
        wal.sync()?;
        let mut manifest = self.manifest.lock();
        match manifest.as_mut() {
            Some(manifest) if manifest.state().log_end != Some(end) => {
                manifest.append(&VersionEdit::new().with(Change::LogEnd(end)))
            }
            _ => Ok(()),
        }
    }
}
