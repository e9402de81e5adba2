//! Turning a batch into records before its place in the log is known.

use std::cell::RefCell;

use crc32fast::Hasher;
use kodiak_core::batch::Batch;
use kodiak_core::wal::WalContext;
use kodiak_core::{Error, Result, SeqNo};

use crate::format::{FLAG_LZ4, Identity, PART_BYTES, RECORD_HEADER, RecordKind, record_size, stage_record, stored_len};

/// A thread keeps its buffer between appends unless a huge batch has blown it up beyond this.
const KEEP_BYTES: usize = 1 << 20;

/// What of a log's settings concerns the encoding of batches.
#[derive(Debug)]
pub(crate) struct Encoding {
    max_record_bytes: u64,
    compress_above: usize,
    hasher: Hasher,
}

/// A batch as records, all but sealed, and what the log must know of it.
#[derive(Debug)]
pub(crate) struct Staged<'a> {
    bytes: &'a mut Vec<u8>,
    /// Operations of the batch.
    pub count: u32,
}

thread_local! {
    static BUFFER: RefCell<(Vec<u8>, Vec<u8>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

impl Encoding {
    pub fn new(context: &WalContext) -> Self {
        Self {
            max_record_bytes: context.max_record_bytes,
            compress_above: context.compress_above.unwrap_or(usize::MAX),
            hasher: Hasher::new(),
        }
    }

    /// Calls `append` with the batch as records, in a buffer that this thread uses again and again.
    ///
    /// # Errors
    /// `InvalidInput` for a batch that is too large; whatever `append` returns.
    #[inline]
    pub fn staged<R>(&self, batch: &Batch, now_micros: u64, append: impl FnOnce(Staged<'_>) -> Result<R>) -> Result<R> {
        let payload = batch.payload();
        if payload.len() as u64 > self.max_record_bytes {
            return Err(self.too_large(payload.len()));
        }
        BUFFER.with_borrow_mut(|(bytes, scratch)| {
            bytes.clear();
            let count = batch.len() as u32;
            if payload.len() <= PART_BYTES && payload.len() < self.compress_above {
                stage_record(&self.hasher, bytes, RecordKind::Full, 0, count, now_micros, payload);
            } else {
                self.stage_parts(bytes, scratch, payload, count, now_micros);
            }
            let result = append(Staged { bytes, count });
            if bytes.capacity() > KEEP_BYTES {
                *bytes = Vec::new();
            }
            result
        })
    }

    #[cold]
    fn too_large(&self, len: usize) -> Error {
        Error::invalid_input(format!(
            "a batch of {len} bytes is above the log's limit of {} bytes; split it, or raise the limit",
            self.max_record_bytes
        ))
    }

    fn stage_parts(&self, bytes: &mut Vec<u8>, scratch: &mut Vec<u8>, payload: &[u8], count: u32, now_micros: u64) {
        let compress = payload.len() >= self.compress_above;
        let last = payload.len().div_ceil(PART_BYTES).max(1) - 1;
        let mut rest = payload;
        for index in 0..=last {
            let (part, tail) = rest.split_at(rest.len().min(PART_BYTES));
            rest = tail;
            let kind = match (index, last) {
                (0, 0) => RecordKind::Full,
                (0, _) => RecordKind::First,
                _ if index == last => RecordKind::Last,
                _ => RecordKind::Middle,
            };
            if compress && compress_part(part, scratch) {
                stage_record(&self.hasher, bytes, kind, FLAG_LZ4, count, now_micros, scratch);
            } else {
                stage_record(&self.hasher, bytes, kind, 0, count, now_micros, part);
            }
        }
    }
}

/// Puts the length and the LZ4 block of `part` into `out`; false if that is no smaller.
fn compress_part(part: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    out.resize(4 + lz4_flex::block::get_maximum_output_size(part.len()), 0);
    out[..4].copy_from_slice(&(part.len() as u32).to_le_bytes());
    match lz4_flex::block::compress_into(part, &mut out[4..]) {
        Ok(len) if 4 + len < part.len() => {
            out.truncate(4 + len);
            true
        }
        _ => false,
    }
}

impl Staged<'_> {
    /// Bytes that the batch will take in the log.
    #[inline]
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Completes the records for their place in the segment of `identity`, and returns them.
    #[inline]
    pub fn seal(&mut self, identity: &Identity, first_seq: SeqNo, synced: u64) -> &[u8] {
        let mut rest = self.bytes.as_mut_slice();
        while let Some(head) = rest.first_chunk::<RECORD_HEADER>() {
            let len = stored_len(head);
            let (record, tail) = rest.split_at_mut(record_size(len));
            identity.seal(record, first_seq, synced);
            rest = tail;
        }
        self.bytes
    }
}

/// The record that ends a log closed in good order.
pub(crate) fn close_record(identity: &Identity, next_seq: SeqNo, now_micros: u64, synced: u64) -> Vec<u8> {
    let mut record = Vec::new();
    stage_record(&Hasher::new(), &mut record, RecordKind::Close, 0, 0, now_micros, &[]);
    identity.seal(&mut record, next_seq, synced);
    record
}
