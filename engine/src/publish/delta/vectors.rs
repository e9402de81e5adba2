//! Deletion vectors: 64-bit roaring bitmaps in their portable form (github.com/RoaringBitmap/RoaringFormatSpec), each in a file of
//! its own.

use std::path::Path;

use kodiak_core::Result;
use kodiak_core::storage::Storage;
use serde::{Deserialize, Serialize};

use crate::publish::write_file;

/// What a stored vector begins with.
const MAGIC: u32 = 1_681_511_377;

/// A stored deletion vector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vector {
    /// Its file in the directory.
    pub file: String,
    /// The random part of the file's name, as the log has it.
    pub encoded: String,
    /// Bytes of it.
    pub bytes: u64,
    /// Rows in it.
    pub rows: u64,
}

/// Stores the vector of ascending `rows`.
///
/// # Errors
/// `Io`.
pub fn vector(storage: &dyn Storage, dir: &Path, rows: &[u32]) -> Result<Option<Vector>> {
    let mut id = [storage.random().to_be_bytes(), storage.random().to_be_bytes()].concat();
    // A random UUID, as RFC 9562 marks them.
    id[6] = id[6] & 0x0F | 0x40;
    id[8] = id[8] & 0x3F | 0x80;
    let mut data = MAGIC.to_le_bytes().to_vec();
    data.extend_from_slice(&bitmap(rows));
    let mut bytes = vec![1];
    bytes.extend_from_slice(&(data.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&data);
    bytes.extend_from_slice(&crc32fast::hash(&data).to_be_bytes());
    let file = format!("deletion_vector_{}.bin", uuid(&id));
    write_file(storage, &dir.join(&file), &bytes)?;
    Ok(Some(Vector {
        file,
        encoded: base85(&id),
        bytes: data.len() as u64,
        rows: rows.len() as u64,
    }))
}

/// The text of a UUID.
pub fn uuid(id: &[u8]) -> String {
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// Z85 (rfc.zeromq.org/spec/32) of a multiple of four bytes.
fn base85(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 85] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
    let mut out = String::new();
    for chunk in bytes.chunks_exact(4) {
        let number = chunk.iter().fold(0u32, |number, &byte| number << 8 | u32::from(byte));
        for power in (0..5).rev() {
            out.push(char::from(DIGITS[(number / 85u32.pow(power) % 85) as usize]));
        }
    }
    out
}

/// The portable form of the 64-bit roaring bitmap of ascending numbers.
fn bitmap(rows: &[u32]) -> Vec<u8> {
    /// More numbers than this in a container are bits.
    const ARRAY: usize = 4096;
    const NO_RUNS: u32 = 12346;
    let containers: Vec<&[u32]> = rows.chunk_by(|a, b| a >> 16 == b >> 16).collect();
    let mut out = 1u64.to_le_bytes().to_vec();
    out.extend_from_slice(&0u32.to_le_bytes());
    let start = out.len();
    out.extend_from_slice(&NO_RUNS.to_le_bytes());
    out.extend_from_slice(&(containers.len() as u32).to_le_bytes());
    for container in &containers {
        out.extend_from_slice(&((container[0] >> 16) as u16).to_le_bytes());
        out.extend_from_slice(&((container.len() - 1) as u16).to_le_bytes());
    }
    let mut offset = out.len() - start + 4 * containers.len();
    for container in &containers {
        out.extend_from_slice(&(offset as u32).to_le_bytes());
        offset += if container.len() > ARRAY {
            8192
        } else {
            2 * container.len()
        };
    }
    for container in &containers {
        if container.len() > ARRAY {
            let mut bits = [0u8; 8192];
            for row in container.iter() {
                bits[(row & 0xFFFF) as usize / 8] |= 1 << (row % 8);
            }
            out.extend_from_slice(&bits);
        } else {
            for row in container.iter() {
                out.extend_from_slice(&(*row as u16).to_le_bytes());
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitmaps_are_in_the_portable_form() {
        let hex = |rows: &[u32]| -> String { bitmap(rows).iter().map(|byte| format!("{byte:02x}")).collect() };
        let small = "0100000000000000000000003a30000001000000000001001000000002000500";
        assert_eq!(hex(&[2, 5]), small);
        let many: Vec<u32> = (0..5000).map(|row| row * 3).chain([70_000]).collect();
        let bytes = bitmap(&many);
        // Head, two containers with their offsets, bits, one number.
        assert_eq!(bytes.len(), 12 + 8 + 2 * 8 + 8192 + 2);
        assert_eq!(bytes[36] & 0b1111, 0b1001, "rows 0 and 3");
        assert_eq!(bytes[bytes.len() - 2..], 4464u16.to_le_bytes());
    }

    #[test]
    fn names_are_encoded_as_the_protocol_says() {
        // The example of Z85's specification.
        assert_eq!(base85(&[0x86, 0x4F, 0xD2, 0x6F, 0xB5, 0x59, 0xF7, 0x5B]), "HelloWorld");
        let id: Vec<u8> = (0..16).collect();
        assert_eq!(uuid(&id), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }
}
