//! Segments that are not there.

use kodiak_core::Result;
use kodiak_core::wal::RecoveryMode;

use super::{Replay, damage};
use crate::format::{SEGMENT_HEADER, SegmentHeader, segment_name};
use crate::reader::{SegmentFile, SegmentReader};

impl Replay<'_, '_> {
    /// Checks that the segment which `header` says it follows was there.
    pub(super) fn check_predecessor(
        &mut self,
        files: &[SegmentFile],
        index: usize,
        header: &SegmentHeader,
    ) -> Result<()> {
        let Some(link) = header.previous else { return Ok(()) };
        // Nothing is missing of one that held no records: a sync that failed may have cost it its header, and everything before it
        // was flushed when the log was opened anew. Within one opening it would have told where the one before it ends, though.
        if header.fresh && link.end <= SEGMENT_HEADER as u64 {
            return Ok(());
        }
        let before = files[..index].iter().rev().find_map(SegmentFile::header);
        let follows = before.is_some_and(|(before, _)| before.segment == link.segment && before.id() == link.id);
        let released = link.segment < self.from || (self.from == 0 && index == 0);
        if follows || released {
            return Ok(());
        }
        if self.mode == RecoveryMode::SkipCorrupt {
            self.report.skipped += 1;
            return Ok(());
        }
        let path = files[index].path.with_file_name(segment_name(link.segment));
        if link.synced > 0 || self.mode != RecoveryMode::PointInTime || promised_from(&files[index..], self.limit)? {
            return Err(damage(
                &path,
                0,
                "this segment of the log is missing, or nothing of it was kept",
            ));
        }
        self.hole = true;
        self.report.incomplete = true;
        self.report.torn_bytes += link.end;
        Ok(())
    }
}

/// True if one of these segments, which come after damage and were written without reopening the log in between, tells that all before it
/// was synced.
pub(super) fn promised_from(later: &[SegmentFile], limit: u64) -> Result<bool> {
    let headed = later
        .iter()
        .filter_map(|file| file.header().map(|header| (file, header)));
    for (position, (file, (header, seed))) in headed.enumerate() {
        if header.fresh {
            return Ok(false);
        }
        // The first one's link was looked at already: its synced offset may end before the damage.
        if position > 0 && header.previous.is_some_and(|link| link.synced > 0) {
            return Ok(true);
        }
        let bytes = file.load(u64::MAX)?;
        if SegmentReader::new(&bytes, header, seed, limit).promise() > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}
