//! Reading one segment, record by record.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::buffer::Buffer;
use kodiak_core::storage::{ReadableFile, Storage};
use kodiak_core::wal::{SegmentId, WalRecord};
use kodiak_core::{Error, ErrorKind, Result, SeqNo};

use crate::format::{
    ALIGN, HeaderState, Identity, PART_BYTES, RECORD_HEADER, RecordHeader, RecordKind, SEGMENT_HEADER, SegmentHeader,
    has_id, record_size, stored_len,
};

pub(crate) const ZEROS: [u8; 4096] = [0; 4096];

/// Where a record's operations are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the segment's own bytes.
    Direct(Range<usize>),
    /// Put together in the reader's buffer.
    Assembled,
}

/// One record found, without its operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub offset: usize,
    pub first_seq: SeqNo,
    pub timestamp_micros: u64,
    pub count: u32,
    pub place: Place,
}

/// Counters of one reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadStats {
    /// Batches read.
    pub records: u64,
    /// Bytes of the segment that they took, headers included.
    pub bytes: u64,
    /// Records of the file; more than `records` if large batches were stored in parts.
    pub parts: u64,
    /// How many of them were compressed.
    pub compressed: u64,
    /// Bytes of operations after decompression.
    pub payload_bytes: u64,
}

/// How the records of a segment end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tail {
    /// The end of the last whole batch.
    pub end: u64,
    /// Where the first record begins that is not intact; `end`, or a later part of the batch that begins there.
    pub bad: u64,
    /// The log was closed here in good order.
    pub closed: bool,
    /// Bytes from `end` to the end of whatever was written there; 0 if nothing was.
    pub torn: u64,
    /// Later records of this segment are intact.
    pub more: bool,
    /// The largest synced offset that one of those promises.
    pub promised: u64,
}

/// Reads the records of one segment in order.
///
/// Batches stored whole and uncompressed are handed out from the segment's bytes; all others are put together in one
/// buffer that is reused and grows to the largest of them. Nothing else is allocated.
#[derive(Debug)]
pub struct SegmentReader<'a> {
    bytes: &'a [u8],
    segment: SegmentId,
    identity: Identity,
    recycled: bool,
    max_record_bytes: u64,
    offset: usize,
    bad: usize,
    closed: bool,
    assembled: Vec<u8>,
    stats: ReadStats,
}

impl<'a> SegmentReader<'a> {
    /// Reads the records in `bytes`, which begin with the segment's header; its checksum is `seed`.
    pub fn new(bytes: &'a [u8], header: &SegmentHeader, seed: u32, max_record_bytes: u64) -> Self {
        Self {
            bytes,
            segment: header.segment,
            identity: Identity::new(header, seed),
            recycled: header.recycled,
            max_record_bytes,
            offset: SEGMENT_HEADER.min(bytes.len()),
            bad: SEGMENT_HEADER.min(bytes.len()),
            closed: false,
            assembled: Vec::new(),
            stats: ReadStats::default(),
        }
    }

    /// The next batch; `None` where no further record is intact, which [`tail`](Self::tail) explains.
    ///
    /// # Errors
    /// `InvalidSettings` for an intact batch above `max_record_bytes`, before memory for it is taken.
    #[inline]
    pub fn next_record(&mut self) -> Result<Option<WalRecord<'_>>> {
        let Some(found) = self.advance()? else { return Ok(None) };
        Ok(Some(self.record(&found)))
    }

    /// The offset behind the last batch handed out.
    pub fn offset(&self) -> u64 {
        self.offset as u64
    }

    /// Counters.
    pub fn stats(&self) -> ReadStats {
        self.stats
    }

    /// Goes on reading at `offset`.
    pub(crate) fn seek(&mut self, offset: usize) {
        self.offset = offset.min(self.bytes.len());
    }

    pub(crate) fn assembled(&self) -> &[u8] {
        &self.assembled
    }

    pub(crate) fn record(&self, found: &Found) -> WalRecord<'_> {
        WalRecord {
            segment: self.segment,
            offset: found.offset as u64,
            first_seq: found.first_seq,
            timestamp_micros: found.timestamp_micros,
            count: found.count,
            payload: match &found.place {
                Place::Direct(range) => &self.bytes[range.clone()],
                Place::Assembled => &self.assembled,
            },
        }
    }

    /// Moves behind the next batch and tells where it is.
    #[inline]
    pub(crate) fn advance(&mut self) -> Result<Option<Found>> {
        if self.closed {
            return Ok(None);
        }
        let at = self.offset;
        let Some((header, payload)) = self.identity.check(&self.bytes[at..]) else {
            self.bad = at;
            return Ok(None);
        };
        if header.kind == RecordKind::Full && !header.lz4 {
            if u64::from(header.len) > self.max_record_bytes {
                return Err(self.too_large(at));
            }
            let start = at + RECORD_HEADER;
            self.offset = at + record_size(payload.len());
            self.count(at, 1, payload.len());
            return Ok(Some(Self::found(
                at,
                &header,
                Place::Direct(start..start + payload.len()),
            )));
        }
        match header.kind {
            RecordKind::Close => {
                self.closed = true;
                Ok(None)
            }
            RecordKind::Full | RecordKind::First => self.assemble(at, header, payload),
            RecordKind::Middle | RecordKind::Last => {
                self.bad = at;
                Ok(None)
            }
        }
    }

    fn found(offset: usize, header: &RecordHeader, place: Place) -> Found {
        Found {
            offset,
            first_seq: header.first_seq,
            timestamp_micros: header.timestamp_micros,
            count: header.count,
            place,
        }
    }

    #[inline]
    fn count(&mut self, from: usize, parts: u64, payload: usize) {
        self.stats.records += 1;
        self.stats.parts += parts;
        self.stats.bytes += (self.offset - from) as u64;
        self.stats.payload_bytes += payload as u64;
    }

    #[cold]
    fn too_large(&self, at: usize) -> Error {
        Error::new(
            ErrorKind::InvalidSettings,
            format!(
                "the log holds a batch above the limit of {} bytes; raise the limits on keys and values to what they were",
                self.max_record_bytes
            ),
        )
        .with_offset(at as u64)
    }

    /// Puts together the batch whose first part is at `at`.
    fn assemble(&mut self, at: usize, first: RecordHeader, payload: &'a [u8]) -> Result<Option<Found>> {
        self.assembled.clear();
        let (mut header, mut payload, mut position, mut parts) = (first, payload, at, 0);
        loop {
            let room = usize::try_from(self.max_record_bytes).unwrap_or(usize::MAX) - self.assembled.len();
            match append_part(&header, payload, room, &mut self.assembled) {
                Part::Appended => {}
                Part::TooLarge => return Err(self.too_large(at)),
                Part::Damaged => {
                    self.bad = position;
                    return Ok(None);
                }
            }
            parts += 1;
            self.stats.compressed += u64::from(header.lz4);
            position += record_size(payload.len());
            if matches!(header.kind, RecordKind::Full | RecordKind::Last) {
                break;
            }
            match self.identity.check(&self.bytes[position..]) {
                Some((next, bytes)) if continues(&first, &next) => (header, payload) = (next, bytes),
                _ => {
                    self.bad = position;
                    return Ok(None);
                }
            }
        }
        self.offset = position;
        self.count(at, parts, self.assembled.len());
        Ok(Some(Self::found(at, &first, Place::Assembled)))
    }

    /// Moves to the next intact beginning of a batch behind the damage at which reading has stopped; false if there is none.
    pub(crate) fn skip_damage(&mut self) -> bool {
        let mut at = self.bad.max(self.offset) + ALIGN;
        while let Some((offset, header)) = self.find(at) {
            if matches!(header.kind, RecordKind::Full | RecordKind::First | RecordKind::Close) {
                self.offset = offset;
                return true;
            }
            at = offset + record_size(header.len as usize);
        }
        false
    }

    /// The first intact record at or after `at`.
    fn find(&self, at: usize) -> Option<(usize, RecordHeader)> {
        let id = self.identity.id();
        let mut at = at;
        while let Some(head) = self.bytes.get(at..at + RECORD_HEADER) {
            if has_id(head, id) {
                if let Some((header, _)) = self.identity.check(&self.bytes[at..]) {
                    return Some((at, header));
                }
            } else if self.bytes.get(at..at + ZEROS.len()) == Some(&ZEROS) {
                // Not the whole page: a record's number may begin in the next one.
                at += ZEROS.len() - 2 * ALIGN;
            }
            at += ALIGN;
        }
        None
    }

    /// Tells how the segment ends, after [`next_record`](Self::next_record) has returned `None`.
    ///
    /// It looks through all that follows, so call it once, and not if it is known from elsewhere that nothing does.
    pub fn tail(&self) -> Tail {
        let mut tail = Tail {
            end: self.offset as u64,
            bad: self.bad as u64,
            closed: self.closed,
            ..Tail::default()
        };
        if self.closed {
            tail.bad = tail.end;
            return tail;
        }
        let mut written = self.bad.max(self.written_at(self.bad));
        let mut at = self.bad + ALIGN;
        while let Some((offset, header)) = self.find(at) {
            at = offset + record_size(header.len as usize);
            written = written.max(at);
            tail.more = true;
            tail.promised = tail.promised.max(header.synced);
        }
        tail.torn = (written - self.offset) as u64;
        tail
    }

    /// The largest synced offset that any intact record of the segment promises.
    pub(crate) fn promise(&self) -> u64 {
        let (mut at, mut promised) = (SEGMENT_HEADER, 0);
        while let Some((offset, header)) = self.find(at) {
            at = offset + record_size(header.len as usize);
            promised = promised.max(header.synced);
        }
        promised
    }

    /// The end of what was written at `at`, where no intact record is: `at` if nothing was.
    fn written_at(&self, at: usize) -> usize {
        let head = &self.bytes[at..self.bytes.len().min(at + RECORD_HEADER)];
        let ours = has_id(head, self.identity.id());
        let blank = head.iter().all(|&byte| byte == 0);
        if blank || (self.recycled && !ours) {
            return at;
        }
        let len = head.first_chunk().map_or(0, stored_len);
        let declared = if len <= PART_BYTES {
            record_size(len)
        } else {
            RECORD_HEADER
        };
        self.bytes.len().min(at + declared)
    }
}

fn continues(first: &RecordHeader, next: &RecordHeader) -> bool {
    matches!(next.kind, RecordKind::Middle | RecordKind::Last)
        && first.kind == RecordKind::First
        && next.first_seq == first.first_seq
        && next.count == first.count
}

enum Part {
    Appended,
    TooLarge,
    Damaged,
}

/// Appends the operations of one part to `out`, at most `room` bytes of them.
fn append_part(header: &RecordHeader, payload: &[u8], room: usize, out: &mut Vec<u8>) -> Part {
    if !header.lz4 {
        if payload.len() > room {
            return Part::TooLarge;
        }
        out.extend_from_slice(payload);
        return Part::Appended;
    }
    let Some((len, block)) = payload.split_first_chunk::<4>() else {
        return Part::Damaged;
    };
    let len = u32::from_le_bytes(*len) as usize;
    if len > PART_BYTES {
        return Part::Damaged;
    }
    if len > room {
        return Part::TooLarge;
    }
    let start = out.len();
    out.resize(start + len, 0);
    match lz4_flex::block::decompress_into(block, &mut out[start..]) {
        Ok(written) if written == len => Part::Appended,
        _ => Part::Damaged,
    }
}

/// A segment's file opened for reading, with what its header says.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    pub path: PathBuf,
    pub state: HeaderState,
    file: Arc<dyn ReadableFile>,
}

impl SegmentFile {
    pub fn open(storage: &dyn Storage, path: &Path, segment: SegmentId) -> Result<Self> {
        let file = storage.open(path)?;
        let head = file
            .read(0, (file.len() as usize).min(SEGMENT_HEADER))
            .map_err(|error| error.with_file(path))?;
        let state = SegmentHeader::decode(&head, segment).map_err(|error| error.with_file(path).with_offset(0))?;
        Ok(Self {
            path: path.to_owned(),
            state,
            file,
        })
    }

    #[cfg(test)]
    pub fn of(path: &Path, state: HeaderState, file: Arc<dyn ReadableFile>) -> Self {
        Self {
            path: path.to_owned(),
            state,
            file,
        }
    }

    pub fn len(&self) -> u64 {
        self.file.len()
    }

    /// The header and the seed, if the header is valid.
    pub fn header(&self) -> Option<(&SegmentHeader, u32)> {
        match &self.state {
            HeaderState::Valid(header, seed) => Some((header, *seed)),
            _ => None,
        }
    }

    /// All bytes up to `limit`: mapped if the storage can, else read at once.
    pub fn load(&self, limit: u64) -> Result<Buffer> {
        let len = self.file.len().min(limit) as usize;
        if len == 0 {
            return Ok(Buffer::from_vec(Vec::<u8>::new()));
        }
        match self.file.map()? {
            Some(buffer) => Ok(buffer.slice_with_length(0, len)),
            None => self.file.read(0, len),
        }
    }
}
