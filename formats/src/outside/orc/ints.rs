//! Every run-length encoding of ORC. Functions return `None` for bytes that end early or make no sense; what follows the
//! last value is ignored. Callers bound `count`.

/// Integers of version 2.
pub(super) fn read_v2(mut bytes: &[u8], count: usize, signed: bool) -> Option<Vec<i64>> {
    let mut out = Vec::with_capacity(count);
    while out.len() < count {
        let first = bytes.split_off(..1)?[0];
        let code = first >> 1 & 0x1F;
        if first >> 6 == 0 {
            let value = big_endian(bytes.split_off(..usize::from(first >> 3 & 7) + 1)?);
            let value = mapped(value, signed);
            out.extend(std::iter::repeat_n(value, usize::from(first & 7) + 3));
            continue;
        }
        let len = (usize::from(first & 1) << 8 | usize::from(bytes.split_off(..1)?[0])) + 1;
        match first >> 6 {
            1 => {
                let packed = unpack(&mut bytes, width(code), len)?;
                out.extend(packed.into_iter().map(|value| mapped(value, signed)));
            }
            2 => patched(&mut bytes, width(code), len, &mut out)?,
            _ => delta(&mut bytes, code, len, signed, &mut out)?,
        }
    }
    out.truncate(count);
    Some(out)
}

/// Integers of version 1.
pub(super) fn read_v1(mut bytes: &[u8], count: usize, signed: bool) -> Option<Vec<i64>> {
    let mut out = Vec::with_capacity(count);
    while out.len() < count {
        let control = bytes.split_off(..1)?[0];
        if control < 128 {
            let step = i64::from(bytes.split_off(..1)?[0] as i8);
            let mut value = mapped(varint(&mut bytes)?, signed);
            for _ in 0..usize::from(control) + 3 {
                out.push(value);
                value = value.wrapping_add(step);
            }
        } else {
            for _ in 0..256 - usize::from(control) {
                out.push(mapped(varint(&mut bytes)?, signed));
            }
        }
    }
    out.truncate(count);
    Some(out)
}

/// Bytes.
pub(super) fn read_bytes(mut bytes: &[u8], count: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(count);
    while out.len() < count {
        let control = bytes.split_off(..1)?[0];
        if control < 128 {
            let byte = bytes.split_off(..1)?[0];
            out.extend(std::iter::repeat_n(byte, usize::from(control) + 3));
        } else {
            out.extend_from_slice(bytes.split_off(..256 - usize::from(control))?);
        }
    }
    out.truncate(count);
    Some(out)
}

/// Signed numbers of up to 128 bits, one after the other.
pub(super) fn read_wide(mut bytes: &[u8], count: usize) -> Option<Vec<i128>> {
    let mut out = Vec::with_capacity(count);
    for _ in 0..count {
        let (mut value, mut shift) = (0u128, 0u32);
        loop {
            let byte = bytes.split_off(..1)?[0];
            if shift >= 128 {
                return None;
            }
            value |= u128::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        out.push((value >> 1) as i128 ^ -((value & 1) as i128));
    }
    Some(out)
}

/// Small values, of which a few are too large: their higher bits come behind.
fn patched(bytes: &mut &[u8], width: usize, len: usize, out: &mut Vec<i64>) -> Option<()> {
    let [third, fourth] = *bytes.split_off(..2)? else {
        return None;
    };
    let base_width = usize::from(third >> 5) + 1;
    let patch_width = self::width(third & 0x1F);
    let gap_width = usize::from(fourth >> 5) + 1;
    let base = big_endian(bytes.split_off(..base_width)?);
    // Its highest bit is a sign.
    let sign = 1u64 << (base_width * 8 - 1);
    let base = match base & sign {
        0 => base as i64,
        _ => -((base & !sign) as i64),
    };
    let mut values = unpack(bytes, width, len)?;
    if patch_width + gap_width > 64 || width + patch_width > 64 {
        return None;
    }
    let patches = unpack(bytes, closest(patch_width + gap_width), usize::from(fourth & 0x1F))?;
    let mut at = 0usize;
    for patch in patches {
        // A patch of 64 bits leaves none for the gap, so the shift is below 64.
        at = at.checked_add((patch >> patch_width) as usize)?;
        let high = patch & ((1u64 << patch_width) - 1);
        match values.get_mut(at) {
            Some(value) => *value |= high.checked_shl(width as u32)?,
            // A gap that is longer than a patch can say goes on in the next one.
            None if high == 0 => {}
            None => return None,
        }
    }
    out.extend(values.into_iter().map(|value| base.wrapping_add(value as i64)));
    Some(())
}

fn delta(bytes: &mut &[u8], code: u8, len: usize, signed: bool, out: &mut Vec<i64>) -> Option<()> {
    let mut value = mapped(varint(bytes)?, signed);
    let step = unzigzag(varint(bytes)?);
    out.push(value);
    if code == 0 {
        for _ in 1..len {
            value = value.wrapping_add(step);
            out.push(value);
        }
        return Some(());
    }
    value = value.wrapping_add(step);
    out.push(value);
    for more in unpack(bytes, width(code), len.checked_sub(2)?)? {
        value = match step < 0 {
            true => value.wrapping_sub(more as i64),
            false => value.wrapping_add(more as i64),
        };
        out.push(value);
    }
    Some(())
}

/// `len` numbers of `width` bits, the highest first, in whole bytes altogether.
fn unpack(bytes: &mut &[u8], width: usize, len: usize) -> Option<Vec<u64>> {
    let packed = bytes.split_off(..(width * len).div_ceil(8))?;
    let mut out = Vec::with_capacity(len);
    let (mut word, mut bits, mut next) = (0u128, 0, packed.iter());
    for _ in 0..len {
        while bits < width {
            word = word << 8 | u128::from(*next.next()?);
            bits += 8;
        }
        bits -= width;
        out.push((word >> bits) as u64 & (u64::MAX >> (64 - width)));
        word &= (1 << bits) - 1;
    }
    Some(out)
}

/// The width in bits that a code stands for.
fn width(code: u8) -> usize {
    match usize::from(code) {
        code @ 0..=23 => code + 1,
        code @ 24..=27 => 26 + (code - 24) * 2,
        code => 40 + (code - 28) * 8,
    }
}

/// The next width that has a code.
fn closest(bits: usize) -> usize {
    match bits {
        0..=24 => bits.max(1),
        25..=32 => bits.next_multiple_of(2),
        _ => bits.next_multiple_of(8),
    }
}

fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes.split_off(..1)?[0];
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn mapped(value: u64, signed: bool) -> i64 {
    if signed { unzigzag(value) } else { value as i64 }
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of ORC's specification.
    #[test]
    fn the_examples_of_the_specification_are_read() {
        assert_eq!(read_v2(&[0x0a, 0x27, 0x10], 5, false), Some(vec![10000; 5]));
        let direct = [0x5e, 0x03, 0x5c, 0xa1, 0xab, 0x1e, 0xde, 0xad, 0xbe, 0xef];
        assert_eq!(read_v2(&direct, 4, false), Some(vec![23713, 43806, 57005, 48879]));
        let patched = [
            0x8e, 0x09, 0x2b, 0x21, 0x07, 0xd0, 0x1e, 0x00, 0x14, 0x70, 0x28, 0x32, 0x3c, 0x46, 0x50, 0x5a, 0xfc, 0xe8,
        ];
        let expected = vec![2030, 2000, 2020, 1_000_000, 2040, 2050, 2060, 2070, 2080, 2090];
        assert_eq!(read_v2(&patched, 10, false), Some(expected));
        let delta = [0xc6, 0x09, 0x02, 0x02, 0x22, 0x42, 0x42, 0x46];
        assert_eq!(
            read_v2(&delta, 10, false),
            Some(vec![2, 3, 5, 7, 11, 13, 17, 19, 23, 29])
        );
        assert_eq!(read_v1(&[0x61, 0x00, 0x07], 100, false), Some(vec![7; 100]));
        assert_eq!(
            read_v1(&[0x61, 0xff, 0x64], 100, false),
            Some((1..=100).rev().collect())
        );
        assert_eq!(
            read_v1(&[0xfb, 0x02, 0x03, 0x04, 0x07, 0xb], 5, false),
            Some(vec![2, 3, 4, 7, 11])
        );
        assert_eq!(read_bytes(&[0x61, 0x00], 100), Some(vec![0; 100]));
        assert_eq!(read_bytes(&[0xfe, 0x44, 0x45], 2), Some(vec![0x44, 0x45]));
    }

    #[test]
    fn bytes_that_end_early_are_refused() {
        let all: [(&[u8], usize); 3] = [
            (&[0x5e, 0x03, 0x5c, 0xa1, 0xab, 0x1e, 0xde, 0xad, 0xbe, 0xef], 4),
            (
                &[0x8e, 0x09, 0x2b, 0x21, 0x07, 0xd0, 0x1e, 0x00, 0x14, 0x70, 0x28, 0x32],
                10,
            ),
            (&[0xc6, 0x09, 0x02, 0x02, 0x22, 0x42, 0x42, 0x46], 10),
        ];
        for (bytes, count) in all {
            for cut in 0..bytes.len() {
                assert_eq!(read_v2(&bytes[..cut], count, true), None);
            }
        }
        // All bytes are tried as a header.
        for first in 0..=255u8 {
            for second in [0, 1, 0x7F, 0xFF] {
                let bytes = [
                    first, second, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
                ];
                let _ = (
                    read_v2(&bytes, 700, true),
                    read_v1(&bytes, 700, false),
                    read_bytes(&bytes, 700),
                );
            }
        }
    }
}
