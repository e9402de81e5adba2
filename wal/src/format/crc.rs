//! Checksums that go on where others ended.

/// The CRC-32 of each byte followed by 0 to 15 zeros.
static CRC_TABLES: [[u32; 256]; 16] = {
    let mut tables = [[0u32; 256]; 16];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                0xEDB8_8320 ^ (crc >> 1)
            } else {
                crc >> 1
            };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 16 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[zeros - 1][byte];
            tables[zeros][byte] = tables[0][(before & 0xFF) as usize] ^ (before >> 8);
            byte += 1;
        }
        zeros += 1;
    }
    tables
};

/// The CRC-32 of what `crc` is that of, followed by `bytes`: for this length faster than the general function, which takes
/// fewer than 64 bytes one by one.
#[inline]
pub(super) fn continue_crc(crc: u32, bytes: &[u8; 16]) -> u32 {
    let start = (!crc).to_le_bytes();
    let mut out = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let byte = if at < 4 { byte ^ start[at] } else { byte };
        out ^= CRC_TABLES[15 - at][usize::from(byte)];
    }
    !out
}

/// The CRC-32 of what `crc` is that of, followed by 14 zeros and two more bytes.
#[inline]
pub(super) fn continue_with_zeros(crc: u32, then: [u8; 2]) -> u32 {
    let start = (!crc).to_le_bytes();
    let moved = (0..4).fold(0, |out, at| out ^ CRC_TABLES[15 - at][usize::from(start[at])]);
    !(moved ^ CRC_TABLES[1][usize::from(then[0])] ^ CRC_TABLES[0][usize::from(then[1])])
}

/// What a CRC-32 changes by, in exclusive-or, when of the last 16 bytes, which were zero, the first eight become `first` and the
/// others `second`, both little-endian: a CRC is linear. Bytes that stay zero cost nothing.
#[inline]
pub(super) fn change_of_end(first: u64, second: u64) -> u32 {
    let mut out = 0;
    for (from, word) in [(0, first), (8, second)] {
        let (mut at, mut rest) = (from, word);
        while rest != 0 {
            out ^= CRC_TABLES[(15 - at) & 15][(rest & 0xFF) as usize];
            rest >>= 8;
            at += 1;
        }
    }
    out
}
