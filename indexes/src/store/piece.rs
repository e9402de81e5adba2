//! Pieces: what is written to an index file, each at a place of its own and with a checksum.

use kodiak_core::varint::Reader;
use kodiak_core::{Error, ErrorKind, Result};

/// The unit in which space is given out, in bytes.
pub(crate) const PAGE: u64 = 4096;
/// Bytes before the body of a piece. Those who build bodies leave room for them.
pub(crate) const HEADER: usize = 32;
/// No piece is longer: what claims to be is damaged.
const LONGEST: u32 = 256 << 20;

/// What a piece holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Leaf = 1,
    Node = 2,
    Buffer = 3,
    Space = 4,
}

impl Kind {
    /// The version of pieces of this kind that this code writes, and the newest that it reads.
    fn version(self) -> u8 {
        match self {
            // 2: names the pieces that its commit has written, with their checksums.
            Self::Space => 2,
            Self::Leaf | Self::Node | Self::Buffer => 1,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Leaf, Self::Node, Self::Buffer, Self::Space]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// Where a piece is, and how to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ptr {
    /// Its first page.
    pub page: u64,
    /// Its bytes, header included, without the padding of its last page.
    pub len: u32,
    /// Its checksum, so that an older piece in the same place is not mistaken for it.
    pub crc: u32,
    /// The commit that it was written for.
    pub birth: u64,
}

impl Ptr {
    /// Bytes of its encoding.
    pub(crate) const WIDTH: usize = 24;

    pub(crate) fn pages(&self) -> u64 {
        u64::from(self.len).div_ceil(PAGE)
    }

    pub(crate) fn offset(&self) -> u64 {
        self.page.saturating_mul(PAGE)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.page.to_le_bytes());
        out.extend_from_slice(&self.len.to_le_bytes());
        out.extend_from_slice(&self.crc.to_le_bytes());
        out.extend_from_slice(&self.birth.to_le_bytes());
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        Self::new(reader.u64_le()?, reader.u32_le()?, reader.u32_le()?, reader.u64_le()?)
    }

    /// # Errors
    /// `Corruption` if there can be no piece of this length in this place.
    pub(crate) fn new(page: u64, len: u32, crc: u32, birth: u64) -> Result<Self> {
        let ptr = Self { page, len, crc, birth };
        if ptr.len < HEADER as u32 || ptr.len > LONGEST || ptr.page < 2 || ptr.page > u64::MAX / PAGE / 2 {
            return Err(Error::corruption(format!("a pointer to nowhere: {ptr:?}")));
        }
        Ok(ptr)
    }
}

/// The header of a piece as it is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub kind: Kind,
    pub version: u8,
    pub level: u8,
}

/// Compresses a body that has room for a header before it; `None` if that saves no page.
pub(crate) fn compress(raw: &[u8]) -> Option<Vec<u8>> {
    let body = &raw[HEADER..];
    let mut out = vec![0; HEADER + lz4_flex::block::get_maximum_output_size(body.len())];
    let len = lz4_flex::block::compress_into(body, &mut out[HEADER..]).ok()?;
    out.truncate(HEADER + len);
    let pages = |len: usize| (len as u64).div_ceil(PAGE);
    (pages(out.len()) < pages(raw.len())).then_some(out)
}

/// Fills in the header of a piece and returns its checksum. `raw_len` is the length of the body before compression.
pub(crate) fn seal(
    bytes: &mut [u8],
    kind: Kind,
    level: u8,
    raw_len: usize,
    compressed: bool,
    page: u64,
    birth: u64,
) -> u32 {
    let stored = (bytes.len() - HEADER) as u32;
    bytes[4..8].copy_from_slice(&[kind as u8, kind.version(), u8::from(compressed), level]);
    bytes[8..12].copy_from_slice(&(raw_len as u32).to_le_bytes());
    bytes[12..16].copy_from_slice(&stored.to_le_bytes());
    bytes[16..24].copy_from_slice(&birth.to_le_bytes());
    bytes[24..32].copy_from_slice(&page.to_le_bytes());
    let crc = crc32fast::hash(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    crc
}

/// Checks a piece that was read from where `ptr` points and returns its header and its body, the latter with room for a
/// header before it.
///
/// # Errors
/// `Corruption`, `Unsupported`; neither names file and offset.
pub(crate) fn unseal(mut bytes: Vec<u8>, ptr: &Ptr) -> Result<(Header, Vec<u8>)> {
    let mut reader = Reader::new(&bytes);
    let crc = reader.u32_le()?;
    if crc != ptr.crc || crc32fast::hash(&bytes[4..]) != crc {
        return Err(Error::corruption(
            "the checksum of a piece differs: restore a copy, or build the index anew",
        ));
    }
    let [kind, version, compressed, level] = [reader.u8()?, reader.u8()?, reader.u8()?, reader.u8()?];
    let (raw_len, stored) = (reader.u32_le()?, reader.u32_le()?);
    let (birth, page) = (reader.u64_le()?, reader.u64_le()?);
    let kind = Kind::from_byte(kind).ok_or_else(|| Error::corruption(format!("unknown kind of piece {kind}")))?;
    if version > kind.version() {
        let known = kind.version();
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("a piece has version {version}, this program knows {known}: use a newer one"),
        ));
    }
    if stored as usize != bytes.len() - HEADER || birth != ptr.birth || page != ptr.page || compressed > 1 {
        return Err(Error::corruption("a piece is not the one that belongs here"));
    }
    let header = Header { kind, version, level };
    if compressed == 1 {
        if raw_len > LONGEST {
            return Err(Error::corruption(format!("a piece claims to have {raw_len} bytes")));
        }
        let mut raw = vec![0; HEADER + raw_len as usize];
        let written = lz4_flex::block::decompress_into(&bytes[HEADER..], &mut raw[HEADER..])
            .map_err(|error| Error::corruption("a piece cannot be decompressed").with_source(error))?;
        if written != raw_len as usize {
            return Err(Error::corruption("a piece decompresses to another length than it says"));
        }
        bytes = raw;
    } else if raw_len != stored {
        return Err(Error::corruption("a piece has two lengths"));
    }
    Ok((header, bytes))
}
