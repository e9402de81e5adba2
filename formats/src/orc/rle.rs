//! ORC's run-length encodings, as far as this format writes them.
//!
//! Integers: version 2, of which two kinds suffice. *Delta* with one difference throughout stands for constants and
//! sequences at a few bytes per 512 values; *direct* packs all others, at widths that unpack byte by byte. Bytes and
//! bits: runs and literals.

/// Values in a run of integers, at most.
const MAX_RUN: usize = 512;
/// Equal bytes in a run.
const MIN_BYTES: usize = 3;
const MAX_BYTES: usize = 130;
/// Literal bytes, at most.
const MAX_LITERALS: usize = 128;
/// The kind of a run, in the two high bits of its first byte.
const DIRECT: u8 = 0b01;
const DELTA: u8 = 0b11;

/// Appends signed integers.
pub(super) fn put_signed(values: &[i64], out: &mut Vec<u8>) {
    for run in values.chunks(MAX_RUN) {
        match constant_delta(run) {
            Some(delta) => {
                put_head(DELTA, 0, run.len(), out);
                put_varint(out, zigzag(run[0]));
                put_varint(out, zigzag(delta));
            }
            None => put_direct(run, zigzag, out),
        }
    }
}

/// Appends integers without a sign: those that have one become as long as they can be.
pub(super) fn put_unsigned(values: &[i64], out: &mut Vec<u8>) {
    for run in values.chunks(MAX_RUN) {
        match constant_delta(run) {
            Some(delta) => {
                put_head(DELTA, 0, run.len(), out);
                put_varint(out, run[0] as u64);
                put_varint(out, zigzag(delta));
            }
            None => put_direct(run, |value| value as u64, out),
        }
    }
}

/// The difference of neighbours, if it is always the same. A delta run has at least two values.
fn constant_delta(run: &[i64]) -> Option<i64> {
    let delta = run.get(1)?.checked_sub(run[0])?;
    run.windows(2)
        .all(|pair| pair[1].checked_sub(pair[0]) == Some(delta))
        .then_some(delta)
}

fn put_head(kind: u8, width_code: u8, len: usize, out: &mut Vec<u8>) {
    let len = len - 1;
    out.push(kind << 6 | width_code << 1 | (len >> 8) as u8);
    out.push(len as u8);
}

fn put_direct(run: &[i64], map: impl Fn(i64) -> u64, out: &mut Vec<u8>) {
    let all = run.iter().fold(0, |all, &value| all | map(value));
    let bytes = (8 - all.leading_zeros() as usize / 8).max(1);
    put_head(DIRECT, width_code(bytes), run.len(), out);
    for &value in run {
        out.extend_from_slice(&map(value).to_be_bytes()[8 - bytes..]);
    }
}

/// ORC's code of a width of so many whole bytes.
fn width_code(bytes: usize) -> u8 {
    match bytes {
        1..=3 => bytes as u8 * 8 - 1,
        _ => bytes as u8 + 23,
    }
}

/// The inverse of [`width_code`].
fn width_of(code: u8) -> Option<usize> {
    match code {
        7 | 15 | 23 => Some(usize::from(code + 1) / 8),
        27..=31 => Some(usize::from(code) - 23),
        _ => None,
    }
}

/// Hands exactly `count` integers to `push`; `None` if the bytes are not what the writer writes for so many.
#[inline]
pub(super) fn read(bytes: &[u8], count: usize, signed: bool, mut push: impl FnMut(i64)) -> Option<()> {
    let map = |value: u64| if signed { unzigzag(value) } else { value as i64 };
    let mut bytes = bytes;
    let mut left = count;
    while left > 0 {
        let ([first, second], rest) = bytes.split_first_chunk()?;
        bytes = rest;
        let len = (usize::from(first & 1) << 8 | usize::from(*second)) + 1;
        if len > left {
            return None;
        }
        left -= len;
        let code = first >> 1 & 0x1F;
        match first >> 6 {
            DELTA if code == 0 => {
                let mut value = map(take_varint(&mut bytes)?);
                let delta = unzigzag(take_varint(&mut bytes)?);
                for _ in 0..len {
                    push(value);
                    value = value.wrapping_add(delta);
                }
            }
            DIRECT => {
                let width = width_of(code)?;
                let packed = bytes.split_off(..len * width)?;
                match width {
                    1 => packed.iter().for_each(|&byte| push(map(byte.into()))),
                    _ => unpack(packed, width, |value| push(map(value))),
                }
            }
            _ => return None,
        }
    }
    bytes.is_empty().then_some(())
}

/// Hands over big-endian numbers of `width` bytes.
#[inline]
fn unpack(packed: &[u8], width: usize, mut push: impl FnMut(u64)) {
    let shift = 64 - width as u32 * 8;
    let mut at = 0;
    while let Some(word) = packed.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        push(u64::from_be_bytes(*word) >> shift);
        at += width;
    }
    // The last few have no eight bytes left to be read in one go.
    for value in packed[at..].chunks_exact(width) {
        push(value.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)));
    }
}

/// Appends bytes.
pub(super) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while at < bytes.len() {
        let run = run_at(bytes, at);
        if run >= MIN_BYTES {
            out.push((run - MIN_BYTES) as u8);
            out.push(bytes[at]);
            at += run;
            continue;
        }
        let start = at;
        while at < bytes.len() && at - start < MAX_LITERALS && run_at(bytes, at) < MIN_BYTES {
            at += 1;
        }
        out.push((at - start).wrapping_neg() as u8);
        out.extend_from_slice(&bytes[start..at]);
    }
}

fn run_at(bytes: &[u8], at: usize) -> usize {
    bytes[at..]
        .iter()
        .take(MAX_BYTES)
        .take_while(|&&byte| byte == bytes[at])
        .count()
}

/// Exactly `count` bytes; `None` if there are fewer or more. The caller has bounded `count`.
pub(super) fn read_bytes(bytes: &[u8], count: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(count);
    let mut bytes = bytes;
    while out.len() < count {
        let (&control, rest) = bytes.split_first()?;
        bytes = rest;
        let len = match control {
            0..=127 => {
                let (&byte, rest) = bytes.split_first()?;
                bytes = rest;
                let len = usize::from(control) + MIN_BYTES;
                out.resize((out.len() + len).min(count + 1), byte);
                continue;
            }
            literals => 256 - usize::from(literals),
        };
        let literals = bytes.split_off(..len)?;
        if literals.len() > count - out.len() {
            return None;
        }
        out.extend_from_slice(literals);
    }
    (bytes.is_empty() && out.len() == count).then_some(out)
}

/// Appends an unsigned LEB128 number.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integers(values: &[i64], signed: bool) -> usize {
        let mut out = Vec::new();
        if signed {
            put_signed(values, &mut out)
        } else {
            put_unsigned(values, &mut out)
        }
        let mut back = Vec::new();
        assert_eq!(
            read(&out, values.len(), signed, |value| back.push(value)),
            Some(()),
            "{values:?}"
        );
        assert_eq!(back, values);
        for cut in 0..out.len() {
            assert_eq!(read(&out[..cut], values.len(), signed, |_| ()), None, "cut to {cut}");
        }
        assert_eq!(read(&out, values.len() + 1, signed, |_| ()), None);
        out.len()
    }

    #[test]
    fn integers_of_every_width_and_count_read_back() {
        for count in [1, 2, 3, 7, 8, 9, 511, 512, 513, 1100] {
            for bits in [1, 7, 8, 9, 16, 23, 31, 33, 40, 47, 55, 63] {
                let mut state = 1u64;
                let mut draw = || {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(9);
                    (state >> 1) as i64 >> (63 - bits)
                };
                let values: Vec<i64> = (0..count).map(|_| draw()).collect();
                integers(&values, false);
                integers(
                    &values
                        .iter()
                        .map(|value| if value % 2 == 0 { -value } else { *value })
                        .collect::<Vec<_>>(),
                    true,
                );
            }
        }
        integers(&[i64::MIN, i64::MAX, 0, -1], true);
        assert_eq!(integers(&[i64::MAX; 512], false), 2 + 9 + 1);
        assert_eq!(integers(&(5..517).rev().collect::<Vec<_>>(), true), 2 + 2 + 1);
    }

    #[test]
    fn bytes_read_back() {
        for bytes in [
            vec![1; 2],
            vec![1; 3],
            vec![7; 1000],
            (0..=255).collect(),
            (0..2000u32).map(|i| if i % 50 < 10 { 3 } else { i as u8 }).collect(),
            vec![1, 1, 2, 2, 3, 3, 3, 4],
        ] {
            let mut out = Vec::new();
            put_bytes(&bytes, &mut out);
            assert_eq!(read_bytes(&out, bytes.len()).as_ref(), Some(&bytes));
            assert_eq!(read_bytes(&out, bytes.len() - 1), None);
            assert_eq!(read_bytes(&out, bytes.len() + 1), None);
        }
    }
}
