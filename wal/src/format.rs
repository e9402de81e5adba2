//! The bytes of a segment, as `docs/formats/wal.md` lays them out. All numbers are little-endian.

mod crc;

use std::path::{Path, PathBuf};

use crc32fast::Hasher;
use kodiak_core::wal::SegmentId;
use kodiak_core::{Error, ErrorKind, Result, SeqNo};

use crc::{change_of_end, continue_crc, continue_with_zeros};

/// The first eight bytes of every segment.
pub const MAGIC: [u8; 8] = *b"kodiakwl";
/// The format version that this code writes, and the newest that it reads.
pub const VERSION: u16 = 1;
/// Bytes of a segment's header; the first record begins there.
pub const SEGMENT_HEADER: usize = 64;
/// Bytes of a record's header.
pub const RECORD_HEADER: usize = 40;
/// Records begin at multiples of this many bytes, so that a reader can find its way again behind a damaged one.
pub const ALIGN: usize = 8;
/// Most bytes of a batch in one record. A larger batch is stored in parts, so that a reader never has to trust a larger
/// length, nor to decompress more than this at once.
pub const PART_BYTES: usize = 256 * 1024;

/// The segment begins an opening of the log; its link tells where that opening's replay ended.
const FLAG_FRESH: u16 = 1;
/// The file held records of an earlier segment when it was taken into use.
const FLAG_RECYCLED: u16 = 2;
/// The payload is a 4-byte length and an LZ4 block of that many bytes.
pub(crate) const FLAG_LZ4: u8 = 1;

/// Where the segment before this one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub segment: SegmentId,
    /// The low half of its log id.
    pub id: u32,
    /// The end of its last record.
    pub end: u64,
    /// Its bytes below this offset were on disk when this header was written: damage there is corruption.
    pub synced: u64,
}

/// The header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The segment's number, also in its file's name.
    pub segment: SegmentId,
    /// A random number that tells this use of the file from earlier ones.
    pub log_id: u64,
    /// True for the first segment after the log was opened.
    pub fresh: bool,
    /// True if the file may hold stale records of an earlier segment.
    pub recycled: bool,
    /// The database whose log it is; 0 if it does not say.
    pub database: u64,
    /// The segment before, if there was one.
    pub previous: Option<Link>,
}

/// What the first bytes of a file turn out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderState {
    /// A valid header of the expected segment, and the seed of its records' checksums.
    Valid(SegmentHeader, u32),
    /// All zero, or the header of the segment for which the file was used before: nothing was written to this one.
    Blank,
    /// The file ends within the header, which is not all zero.
    Torn,
    /// Neither of these.
    Damaged,
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

impl SegmentHeader {
    /// The low half of the log id, which every record repeats.
    pub fn id(&self) -> u32 {
        self.log_id as u32
    }

    /// The header's bytes, and its checksum, which seeds those of the records.
    pub fn encode(&self) -> ([u8; SEGMENT_HEADER], u32) {
        let mut out = [0; SEGMENT_HEADER];
        out[..8].copy_from_slice(&MAGIC);
        out[8..10].copy_from_slice(&VERSION.to_le_bytes());
        let flags = if self.fresh { FLAG_FRESH } else { 0 } | if self.recycled { FLAG_RECYCLED } else { 0 };
        out[10..12].copy_from_slice(&flags.to_le_bytes());
        out[16..24].copy_from_slice(&self.segment.to_le_bytes());
        out[24..32].copy_from_slice(&self.log_id.to_le_bytes());
        if let Some(link) = &self.previous {
            let distance = u32::try_from(self.segment.saturating_sub(link.segment)).unwrap_or(0);
            out[32..36].copy_from_slice(&distance.to_le_bytes());
            out[36..40].copy_from_slice(&link.id.to_le_bytes());
            out[40..48].copy_from_slice(&link.end.to_le_bytes());
            out[48..56].copy_from_slice(&link.synced.to_le_bytes());
        }
        out[56..64].copy_from_slice(&self.database.to_le_bytes());
        let crc = header_crc(&out);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        (out, crc)
    }

    /// Tells what `bytes`, the start of the file of segment `expected`, are.
    ///
    /// # Errors
    /// `Unsupported` for an intact header of a newer version.
    pub fn decode(bytes: &[u8], expected: SegmentId) -> Result<HeaderState> {
        let Some(bytes) = bytes.get(..SEGMENT_HEADER) else {
            let blank = bytes.iter().all(|&byte| byte == 0);
            return Ok(if blank { HeaderState::Blank } else { HeaderState::Torn });
        };
        let crc = u32_at(bytes, 12);
        if bytes[..8] != MAGIC || crc != header_crc(bytes) {
            let blank = bytes.iter().all(|&byte| byte == 0);
            return Ok(if blank {
                HeaderState::Blank
            } else {
                HeaderState::Damaged
            });
        }
        let version = u16::from_le_bytes(array(bytes, 8));
        if version > VERSION {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the log segment has format version {version}; this version of Kodiak reads up to {VERSION}"),
            ));
        }
        let segment = u64_at(bytes, 16);
        if segment != expected {
            return Ok(HeaderState::Blank);
        }
        let flags = u16::from_le_bytes(array(bytes, 10));
        let distance = u64::from(u32_at(bytes, 32));
        let previous = (distance != 0).then(|| Link {
            segment: segment.saturating_sub(distance),
            id: u32_at(bytes, 36),
            end: u64_at(bytes, 40),
            synced: u64_at(bytes, 48),
        });
        let header = Self {
            segment,
            log_id: u64_at(bytes, 24),
            fresh: flags & FLAG_FRESH != 0,
            recycled: flags & FLAG_RECYCLED != 0,
            database: u64_at(bytes, 56),
            previous,
        };
        Ok(HeaderState::Valid(header, crc))
    }
}

fn header_crc(bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&bytes[..12]);
    hasher.update(&bytes[16..SEGMENT_HEADER]);
    hasher.finalize()
}

/// What a record is. The numbers are stored and never change meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// A whole batch.
    Full = 1,
    /// The first part of a batch.
    First = 2,
    /// A part in the middle.
    Middle = 3,
    /// The last part.
    Last = 4,
    /// The log was closed here in good order: nothing follows.
    Close = 5,
}

impl RecordKind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Full, Self::First, Self::Middle, Self::Last, Self::Close]
            .get(usize::from(byte).wrapping_sub(1))
            .copied()
    }
}

/// The header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// Bytes of payload as stored.
    pub len: u32,
    /// Operations in the whole batch.
    pub count: u32,
    /// The sequence number of the batch's first operation.
    pub first_seq: SeqNo,
    /// When the batch was written, microseconds since 1970.
    pub timestamp_micros: u64,
    /// Bytes of the segment below this offset were on disk when the record was written.
    pub synced: u64,
    /// What it is.
    pub kind: RecordKind,
    /// True if the payload is compressed.
    pub lz4: bool,
}

/// Bytes that a record with a payload of `len` bytes takes.
#[inline]
pub fn record_size(len: usize) -> usize {
    (RECORD_HEADER + len).next_multiple_of(ALIGN)
}

/// The length that a record's header declares, whether or not it is intact.
#[inline]
pub(crate) fn stored_len(head: &[u8; RECORD_HEADER]) -> usize {
    u32_at(head, 24) as usize
}

/// True if a record's header repeats this low half of a log id.
#[inline]
pub(crate) fn has_id(head: &[u8], id: u32) -> bool {
    head.get(4..8).is_some_and(|bytes| bytes == id.to_le_bytes())
}

/// Checks records and seals them: the identity of one segment.
///
/// What is known of a record before it has its place comes first in its checksum, the `PLACED` bytes after it. Of those, what
/// depends on the place counts as zero at first, so that under the log's lock only its few bytes must be added. The result is
/// masked with the checksum of the segment's header, which covers the whole log id and the number.
#[derive(Debug, Clone)]
pub struct Identity {
    id: u32,
    seed: u32,
    hasher: Hasher,
}

/// The bytes of a record's header that depend on its place, and two that do not: sequence number, synced position, kind, flags.
const PLACED: std::ops::Range<usize> = 8..24;
const SIX_BYTES: u64 = (1 << 48) - 1;

impl Identity {
    /// The identity of the segment with this header, whose checksum is `seed`.
    pub fn new(header: &SegmentHeader, seed: u32) -> Self {
        Self {
            id: header.id(),
            seed,
            hasher: Hasher::new(),
        }
    }

    /// The low half of the log id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Fills in what is known only once a staged record has its place, and its checksum; `record` has its padding.
    #[inline]
    pub(crate) fn seal(&self, record: &mut [u8], first_seq: SeqNo, synced: u64) {
        record[4..8].copy_from_slice(&self.id.to_le_bytes());
        record[8..16].copy_from_slice(&first_seq.to_le_bytes());
        record[16..22].copy_from_slice(&synced.to_le_bytes()[..6]);
        let crc = u32_at(record, 0) ^ change_of_end(first_seq, synced & SIX_BYTES) ^ self.seed;
        record[..4].copy_from_slice(&crc.to_le_bytes());
    }

    /// The record at the start of `bytes`, with its payload, if there is an intact one of this segment.
    #[inline]
    pub fn check<'a>(&self, bytes: &'a [u8]) -> Option<(RecordHeader, &'a [u8])> {
        let head = bytes.first_chunk::<RECORD_HEADER>()?;
        if u32_at(head, 4) != self.id {
            return None;
        }
        let len = u32_at(head, 24);
        let stored = len as usize;
        let (seed, whole) = seed_of(&self.hasher, bytes)?;
        if seed != self.seed {
            return None;
        }
        let header = RecordHeader {
            len,
            count: u32_at(head, 28),
            first_seq: u64_at(head, 8),
            timestamp_micros: u64_at(head, 32),
            synced: u64_at(head, 16) & SIX_BYTES,
            kind: RecordKind::from_byte(head[22])?,
            lz4: head[23] & FLAG_LZ4 != 0,
        };
        Some((header, &whole[RECORD_HEADER..RECORD_HEADER + stored]))
    }
}

/// True if these bytes may be a record's header, for all that can be told without checksums.
pub(crate) fn may_begin(head: &[u8]) -> bool {
    head.first_chunk::<RECORD_HEADER>().is_some_and(|head| {
        record_id(head) != 0
            && RecordKind::from_byte(head[22]).is_some()
            && head[23] & !FLAG_LZ4 == 0
            && stored_len(head) <= PART_BYTES
    })
}

/// The low half of a log id that a record's header, whether or not it is intact, repeats.
pub(crate) fn record_id(head: &[u8]) -> u32 {
    u32_at(head, 4)
}

/// The sequence number that a record's header, whether or not it is intact, declares.
pub(crate) fn record_seq(head: &[u8]) -> SeqNo {
    u64_at(head, 8)
}

/// The seed under which the record at the start of `bytes` is intact, and its bytes with the padding: checksums are masked with the
/// seed, so there is one for whatever bytes. `None` where no record can begin. `hasher` is a new one.
#[inline]
pub(crate) fn seed_of<'a>(hasher: &Hasher, bytes: &'a [u8]) -> Option<(u32, &'a [u8])> {
    let head = bytes.first_chunk::<RECORD_HEADER>()?;
    let stored = stored_len(head);
    if stored > PART_BYTES {
        return None;
    }
    let whole = bytes.get(..record_size(stored))?;
    let mut hasher = hasher.clone();
    hasher.update(&whole[PLACED.end..]);
    let crc = continue_crc(hasher.finalize(), &array(head, PLACED.start));
    Some((crc ^ u32_at(head, 0), whole))
}

/// Appends a record whose place and sequence number are still open; see [`Identity::seal`]. `hasher` is a new one, at hand so
/// that the processor is not asked for its abilities each time.
pub(crate) fn stage_record(
    hasher: &Hasher,
    out: &mut Vec<u8>,
    kind: RecordKind,
    flags: u8,
    count: u32,
    timestamp_micros: u64,
    payload: &[u8],
) {
    let mut head = [0; RECORD_HEADER];
    head[22] = kind as u8;
    head[23] = flags;
    head[24..28].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    head[28..32].copy_from_slice(&count.to_le_bytes());
    head[32..40].copy_from_slice(&timestamp_micros.to_le_bytes());
    let padding = record_size(payload.len()) - RECORD_HEADER - payload.len();
    let start = out.len();
    out.reserve(RECORD_HEADER + payload.len() + ALIGN);
    out.extend_from_slice(&head);
    out.extend_from_slice(payload);
    out.extend_from_slice(&[0; ALIGN][..padding]);
    let mut hasher = hasher.clone();
    hasher.update(&out[start + PLACED.end..]);
    out[start..start + 4].copy_from_slice(&continue_with_zeros(hasher.finalize(), [kind as u8, flags]).to_le_bytes());
}

/// The file name of a segment.
pub fn segment_name(segment: SegmentId) -> String {
    format!("{segment:020}.wal")
}

/// The file name under which a released segment waits to be used again.
pub(crate) fn spare_name(segment: SegmentId) -> String {
    format!("{segment:020}.spare")
}

fn number_before(name: &str, suffix: &str) -> Option<SegmentId> {
    let digits = name.strip_suffix(suffix)?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
}

/// The number of the segment with this file name, if it is one.
pub fn segment_of_name(name: &str) -> Option<SegmentId> {
    number_before(name, ".wal")
}

/// True for the name of a spare file.
pub(crate) fn is_spare_name(name: &str) -> bool {
    number_before(name, ".spare").is_some()
}

/// The path of a segment in `dir`.
pub fn segment_path(dir: &Path, segment: SegmentId) -> PathBuf {
    dir.join(segment_name(segment))
}

#[cfg(test)]
mod tests;
