//! Samples of when sequence numbers were given out, as sidecars and manifests hold them.

use kodiak_core::varint::{Reader, put_u64};
use kodiak_core::{Error, Result, SeqNo};

/// True if sequence numbers ascend, as they must.
pub(crate) fn ascend(times: &[(SeqNo, u64)]) -> bool {
    times.is_sorted_by_key(|(seq, _)| *seq)
}

/// Appends the stored form of samples that [`ascend`].
pub(crate) fn encode(times: &[(SeqNo, u64)], out: &mut Vec<u8>) {
    put_u64(out, times.len() as u64);
    let (mut last_seq, mut last_micros) = (0u64, 0u64);
    for &(seq, micros) in times {
        put_u64(out, seq.saturating_sub(last_seq));
        put_u64(out, zigzag(micros.wrapping_sub(last_micros) as i64));
        (last_seq, last_micros) = (seq, micros);
    }
}

/// Reads what [`encode`] has written.
///
/// # Errors
/// `Corruption` for other bytes.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<(SeqNo, u64)>> {
    let mut reader = Reader::new(bytes);
    let count = reader.len(reader.remaining() / 2)?;
    let mut times = Vec::with_capacity(count);
    let (mut seq, mut micros) = (0u64, 0u64);
    for _ in 0..count {
        seq = seq
            .checked_add(reader.u64()?)
            .ok_or_else(|| Error::corruption("a sequence number is too large"))?;
        micros = micros.wrapping_add(unzigzag(reader.u64()?) as u64);
        times.push((seq, micros));
    }
    Ok(times)
}

/// A signed number as an unsigned one that is small if the signed one is near zero.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
