//! Whether the log still reaches as far as it did when the database was closed.

use std::path::Path;

use kodiak_core::wal::RESCUE;
use kodiak_core::{Error, Result, SeqNo};

use crate::manifest::State;

/// Compares the last sequence number that the log in `dir` holds with the one that it was closed at, if the manifest has noted one.
///
/// # Errors
/// `Corruption` that names the directory if the log ends before that.
pub(crate) fn check_log_end(state: &State, last_seq: SeqNo, dir: &Path) -> Result<()> {
    match state.log_end {
        Some(end) if last_seq < end => {
            let message = format!(
                "the log ends at sequence number {last_seq}, but was closed at {end}: segments, or the end of the last one, are \
                 missing; {RESCUE}"
            );
            Err(Error::corruption(message).with_file(dir))
        }
        _ => Ok(()),
    }
}
