//! Segments whose header is lost: which of the records in the file are theirs.
//!
//! The checksum of a record is masked with that of the header, so two records in a row that are intact under the same mask, and
//! repeat the same log id, tell the mask: that they do by chance has a probability of one in 2^32, as with any checksum. That they
//! are of this use of the file, and not stale ones of a segment for which it was used before, is to be known from elsewhere:
//!
//! - the next segment names this one with that log id; or
//! - what is left of the header has this segment's number, and that log id or that mask; or
//! - their sequence numbers are larger than those of a segment before this one that is still there. Stale records are older than
//!   all of them, since the oldest segments are released first.

use crc32fast::Hasher;
use kodiak_core::wal::SegmentId;
use kodiak_core::{Result, SeqNo};

use crate::format::{
    ALIGN, HeaderState, RECORD_HEADER, SEGMENT_HEADER, SegmentHeader, has_id, may_begin, record_id, record_seq, seed_of,
};
use crate::reader::{SegmentFile, SegmentReader, ZEROS};

/// Finds the identities of the segments without a valid header, as far as that can be done soundly; they then count as valid.
/// Returns of how many.
///
/// # Errors
/// Those of reading.
pub(crate) fn rescue_headers(files: &mut [SegmentFile], numbers: &[SegmentId], limit: u64) -> Result<u64> {
    let mut found = 0;
    for index in 0..files.len() {
        if files[index].header().is_some() {
            continue;
        }
        let bytes = files[index].load(u64::MAX)?;
        let Some(head) = bytes.get(..SEGMENT_HEADER) else {
            continue;
        };
        let known = Known {
            head,
            number: numbers[index],
            named: named_by_next(files, index, numbers[index]),
            // A file with the valid header of another segment was not written to since, for all that itself can tell.
            before: match files[index].state {
                HeaderState::Damaged => last_before(files, index, limit)?,
                _ if head.iter().all(|&byte| byte == 0) => last_before(files, index, limit)?,
                _ => None,
            },
        };
        if let Some((id, seed)) = known.identity(&bytes) {
            let header = SegmentHeader {
                segment: known.number,
                log_id: u64::from(id),
                fresh: false,
                recycled: true,
                database: 0,
                previous: None,
            };
            tracing::warn!(file = %files[index].path.display(), "the records of a log segment without a header are read");
            files[index].state = HeaderState::Valid(header, seed);
            found += 1;
        }
    }
    Ok(found)
}

/// The log id by which the segment after this one names it.
fn named_by_next(files: &[SegmentFile], index: usize, number: SegmentId) -> Option<u32> {
    let (next, _) = files[index + 1..].iter().find_map(SegmentFile::header)?;
    next.previous.filter(|link| link.segment == number).map(|link| link.id)
}

/// The last sequence number of an earlier segment, the nearest that has one.
fn last_before(files: &[SegmentFile], index: usize, limit: u64) -> Result<Option<SeqNo>> {
    for file in files[..index].iter().rev() {
        let Some((header, seed)) = file.header() else { continue };
        let bytes = file.load(u64::MAX)?;
        let mut reader = SegmentReader::new(&bytes, header, seed, limit);
        let mut last = None;
        loop {
            if let Some(record) = reader.next_record()? {
                last = last.max(Some(record.last_seq()));
            } else if !reader.skip_damage() {
                break;
            }
        }
        if last.is_some() {
            return Ok(last);
        }
    }
    Ok(None)
}

/// What is known of a segment beside its records.
struct Known<'a> {
    /// What is where its header was.
    head: &'a [u8],
    number: SegmentId,
    named: Option<u32>,
    before: Option<SeqNo>,
}

impl Known<'_> {
    /// The log id and the seed of the segment's records.
    fn identity(&self, bytes: &[u8]) -> Option<(u32, u32)> {
        let hasher = Hasher::new();
        let mut at = SEGMENT_HEADER;
        while let Some(head) = bytes.get(at..at + RECORD_HEADER) {
            if may_begin(head) {
                let id = record_id(head);
                if let Some((seed, whole)) = self.candidate(&hasher, id, &bytes[at..]) {
                    let next = &bytes[at + whole..];
                    let agrees = has_id(next, id) && seed_of(&hasher, next).is_some_and(|(other, _)| other == seed);
                    if (agrees || self.has_seed(seed)) && self.is_own(id, seed, record_seq(head)) {
                        return Some((id, seed));
                    }
                }
            } else if bytes.get(at..at + ZEROS.len()) == Some(&ZEROS) {
                at += ZEROS.len() - ALIGN;
            }
            at += ALIGN;
        }
        None
    }

    /// The seed and the size of what may be a record of the segment: only where it is followed by one that repeats its id, or the id
    /// is known, a checksum is worth its time.
    fn candidate(&self, hasher: &Hasher, id: u32, bytes: &[u8]) -> Option<(u32, usize)> {
        let size = crate::format::record_size(crate::format::stored_len(bytes.first_chunk()?));
        let followed = bytes.get(size..).is_some_and(|next| has_id(next, id));
        if !followed && self.named != Some(id) && !self.has_id(id) {
            return None;
        }
        seed_of(hasher, bytes).map(|(seed, whole)| (seed, whole.len()))
    }

    fn is_own(&self, id: u32, seed: u32, first: SeqNo) -> bool {
        match self.named {
            Some(named) => named == id,
            None => {
                let by_header = self.has_number() && (self.has_id(id) || self.has_seed(seed));
                by_header || self.before.is_some_and(|before| first > before)
            }
        }
    }

    fn has_number(&self) -> bool {
        self.head[16..24] == self.number.to_le_bytes()
    }

    fn has_id(&self, id: u32) -> bool {
        self.head[24..28] == id.to_le_bytes()
    }

    /// True if the header's own checksum was this.
    fn has_seed(&self, seed: u32) -> bool {
        self.head[12..16] == seed.to_le_bytes()
    }
}

#[cfg(test)]
mod tests;
