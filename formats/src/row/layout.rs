//! The bytes of a row block: entries, restart points, trailer.

use kodiak_core::entry::{MAX_SEQ, common_prefix};
use kodiak_core::varint::{Reader, put_u64};
use kodiak_core::{EntryRef, Error, Op, Result, SeqNo};

/// Lowest sequence number (8 bytes), rows (4), restart interval (4).
const TRAILER: usize = 16;

/// Appends one block of sorted entries to `out`.
///
/// # Errors
/// `InvalidInput` if the block would exceed 4 GiB, which its restart points could not address.
pub(super) fn encode<'a>(
    rows: usize,
    entry: impl Fn(usize) -> EntryRef<'a>,
    interval: usize,
    out: &mut Vec<u8>,
) -> Result<()> {
    let start = out.len();
    let base = (0..rows).map(|row| entry(row).seq).min().unwrap_or(0);
    let mut restarts = Vec::with_capacity(rows.div_ceil(interval));
    let mut last: &[u8] = &[];
    for row in 0..rows {
        let entry = entry(row);
        let shared = if row % interval == 0 {
            restarts.push(out.len() - start);
            0
        } else {
            common_prefix(last, entry.key)
        };
        put_u64(out, shared as u64);
        put_u64(out, (entry.key.len() - shared) as u64);
        put_u64(out, (entry.value.len() as u64) << 2 | entry.op as u64);
        put_u64(out, entry.seq - base);
        out.extend_from_slice(&entry.key[shared..]);
        out.extend_from_slice(entry.value);
        last = entry.key;
    }
    if u32::try_from(out.len() - start).is_err() || u32::try_from(rows).is_err() {
        return Err(Error::invalid_input(
            "a row block may have at most 4 GiB: use smaller blocks",
        ));
    }
    for restart in restarts {
        out.extend_from_slice(&(restart as u32).to_le_bytes());
    }
    out.extend_from_slice(&base.to_le_bytes());
    out.extend_from_slice(&(rows as u32).to_le_bytes());
    out.extend_from_slice(&(interval as u32).to_le_bytes());
    Ok(())
}

/// One entry as it lies in the block: its key is the first `shared` bytes of the key before it, then `suffix`.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawEntry<'a> {
    pub(super) shared: usize,
    pub(super) suffix: &'a [u8],
    pub(super) seq: SeqNo,
    pub(super) op: Op,
    /// Where the value begins in the block.
    pub(super) value_at: usize,
    pub(super) value: &'a [u8],
    /// Where the next entry begins.
    pub(super) next: usize,
}

/// Where the sections of a block are. Every read of it is checked, since a checksum does not prove who wrote the bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) rows: usize,
    interval: usize,
    base: SeqNo,
    /// Where the entries end and the restart points begin.
    pub(super) entries: usize,
    pub(super) restarts: usize,
}

impl Layout {
    /// Finds the sections from the end of the block.
    ///
    /// # Errors
    /// `Corruption` if they do not fit it.
    pub(super) fn of(block: &[u8]) -> Result<Self> {
        let Some(at) = block.len().checked_sub(TRAILER) else {
            return Err(Error::corruption("a row block is shorter than its trailer"));
        };
        let mut trailer = Reader::new(&block[at..]);
        let base = trailer.u64_le()?;
        let rows = trailer.u32_le()? as usize;
        let interval = trailer.u32_le()? as usize;
        if rows == 0 || interval == 0 || base > MAX_SEQ {
            return Err(Error::corruption("a row block has no rows, or a malformed trailer"));
        }
        let restarts = rows.div_ceil(interval);
        match restarts.checked_mul(4).and_then(|bytes| at.checked_sub(bytes)) {
            Some(entries) => Ok(Self {
                rows,
                interval,
                base,
                entries,
                restarts,
            }),
            None => Err(Error::corruption(format!(
                "a row block is too short for {restarts} restart points"
            ))),
        }
    }

    /// Where the entry of a restart point begins.
    pub(super) fn restart(&self, block: &[u8], index: usize) -> usize {
        let at = self.entries + index * 4;
        block
            .get(at..)
            .and_then(|rest| rest.first_chunk())
            .map_or(usize::MAX, |at| u32::from_le_bytes(*at) as usize)
    }

    /// The row of a restart point.
    pub(super) fn row_of(&self, restart: usize) -> usize {
        restart * self.interval
    }

    /// How many entries follow from a restart point, its own included, before the next.
    pub(super) fn group(&self, restart: usize) -> usize {
        (self.rows - self.row_of(restart)).min(self.interval)
    }

    /// The entry that begins at `at`.
    ///
    /// # Errors
    /// `Corruption` if it is not inside the section of entries.
    #[inline]
    pub(super) fn entry<'a>(&self, block: &'a [u8], at: usize) -> Result<RawEntry<'a>> {
        let Some(bytes) = block.get(at..self.entries) else {
            return Err(Error::corruption("a restart point is outside its block"));
        };
        let mut reader = Reader::new(bytes);
        let shared = reader.len(self.entries.max(u32::MAX as usize))?;
        let suffix = reader.len(self.entries)?;
        let packed = reader.u64()?;
        let seq = self.base.saturating_add(reader.u64()?);
        let op = match packed & 3 {
            0 => Op::Put,
            1 => Op::Delete,
            2 => Op::Merge,
            _ => return Err(Error::corruption("a row block holds an unknown operation")),
        };
        let value_len = usize::try_from(packed >> 2).unwrap_or(usize::MAX);
        if seq > MAX_SEQ {
            return Err(Error::corruption(
                "a row block holds a sequence number that is too large",
            ));
        }
        let suffix = reader.take(suffix)?;
        let value_at = at + reader.position();
        let value = reader.take(value_len)?;
        Ok(RawEntry {
            shared,
            suffix,
            seq,
            op,
            value_at,
            value,
            next: at + reader.position(),
        })
    }
}
