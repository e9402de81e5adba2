//! The last 16 bytes of every serialised filter: what it is, and the numbers needed to use the payload before them.
//!
//! The trailer is at the end so that the payload begins where the buffer does, and keeps the buffer's alignment.

use arrow::buffer::Buffer;
use kodiak_core::{Error, ErrorKind, Result};

/// Bytes of a trailer.
const LEN: usize = 16;
/// The version that this code writes; it reads all up to it.
const VERSION: u8 = 1;

/// The kind byte of each filter. They are stored and never change meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Bloom = 1,
    BlockedBloom = 2,
    Ribbon = 3,
    BinaryFuse = 4,
}

/// The numbers of a trailer; what they mean depends on the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trailer {
    /// Units of payload (words, blocks, slots).
    pub units: u64,
    /// Another number of the kind's own.
    pub extra: u32,
    /// Probes, or result bits.
    pub width: u8,
    /// Which seed the construction succeeded with.
    pub seed: u8,
}

impl Trailer {
    /// Appends the trailer to a finished payload.
    pub fn append(self, kind: Kind, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.units.to_le_bytes());
        out.extend_from_slice(&self.extra.to_le_bytes());
        out.extend_from_slice(&[self.width, self.seed, VERSION, kind as u8]);
    }

    /// Takes a serialised filter apart, sharing its memory.
    pub fn split(kind: Kind, bytes: &Buffer) -> Result<(Buffer, Self)> {
        let Some((payload, trailer)) = bytes.as_slice().split_last_chunk::<LEN>() else {
            return Err(damaged("shorter than its trailer"));
        };
        let [
            u0,
            u1,
            u2,
            u3,
            u4,
            u5,
            u6,
            u7,
            e0,
            e1,
            e2,
            e3,
            width,
            seed,
            version,
            stored,
        ] = *trailer;
        if stored != kind as u8 {
            return Err(damaged(&format!("of kind {stored}, not {}", kind as u8)));
        }
        if version > VERSION {
            let message = format!("a filter of version {version}; this program knows versions up to {VERSION}");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if version == 0 {
            return Err(damaged("of version 0, which was never written"));
        }
        let units = u64::from_le_bytes([u0, u1, u2, u3, u4, u5, u6, u7]);
        let trailer = Self {
            units,
            extra: u32::from_le_bytes([e0, e1, e2, e3]),
            width,
            seed,
        };
        Ok((bytes.slice_with_length(0, payload.len()), trailer))
    }
}

/// `Corruption`, saying what is wrong with a filter.
#[cold]
pub(crate) fn damaged(what: &str) -> Error {
    Error::corruption(format!("a filter is {what}"))
}

/// Checks that a payload is `units` times `unit_bytes` long, and not empty.
pub(crate) fn check_len(payload: &Buffer, units: u64, unit_bytes: u64) -> Result<()> {
    if units == 0 || units.checked_mul(unit_bytes) != Some(payload.len() as u64) {
        return Err(damaged(&format!(
            "{} bytes long, its trailer says {units} x {unit_bytes}",
            payload.len()
        )));
    }
    Ok(())
}

/// Maps a uniformly distributed `hash` to `0..range` by its high bits.
#[inline(always)]
pub(crate) fn reduce(hash: u64, range: u64) -> u64 {
    ((u128::from(hash) * u128::from(range)) >> 64) as u64
}

/// A second, independent 64-bit hash: both halves of a 128-bit product, folded.
#[inline(always)]
pub(crate) fn remix(hash: u64) -> u64 {
    let product = u128::from(hash ^ 0x9E37_79B9_7F4A_7C15) * u128::from(0xD6E8_FEB8_6659_FD93_u64);
    (product >> 64) as u64 ^ product as u64
}

/// True if no filter is asked for; not a number asks for none either.
pub(crate) fn no_bits(bits_per_key: f64) -> bool {
    bits_per_key.is_nan() || bits_per_key <= 0.0
}

/// Bits in all for `keys` keys; `None` if a filter would not help.
pub(crate) fn total_bits(keys: usize, bits_per_key: f64) -> Option<u64> {
    // More bits than this lower no rate that anything could notice.
    const MOST_BITS_PER_KEY: f64 = 64.0;
    if keys == 0 || no_bits(bits_per_key) {
        return None;
    }
    Some(((keys as f64 * bits_per_key.min(MOST_BITS_PER_KEY)).ceil() as u64).max(1))
}

/// The hash under one of 256 seeds, for constructions that may fail and try again.
#[inline(always)]
pub(crate) fn reseed(hash: u64, seed: u8) -> u64 {
    remix(hash.wrapping_add(u64::from(seed).wrapping_mul(0xA24B_AED4_963E_E407)))
}
