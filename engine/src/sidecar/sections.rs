//! Sections, their directory, and the footer.

use arrow::buffer::Buffer;
use kodiak_core::varint::{Reader, put_u64};
use kodiak_core::{Error, ErrorKind, Result};

const MAGIC: &[u8; 8] = b"KODIAKSC";
const VERSION: u32 = 1;

/// Length of the header: magic, version, reserved.
const HEADER_BYTES: usize = 64;
/// Length of the footer: length of the directory, its CRC, version, magic.
const FOOTER_BYTES: usize = 24;
/// Every section begins at a multiple of this, so that filters and fences can be used where they lie.
const ALIGNMENT: usize = 64;
/// Most sections that a directory may name.
const MAX_SECTIONS: usize = 64;

/// The numbers of sections on disk. A reader passes over sections that it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Section {
    Meta = 1,
    Fences = 2,
    Blocks = 3,
    FilterKind = 4,
    Filter = 5,
    RangeDeletes = 6,
    Times = 7,
    Statistics = 8,
}

/// Puts sections one after the other.
pub(super) struct Writer {
    bytes: Vec<u8>,
    directory: Vec<u8>,
    sections: u64,
}

impl Writer {
    pub fn new() -> Self {
        let mut bytes = Vec::with_capacity(4096);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.resize(HEADER_BYTES, 0);
        Self {
            bytes,
            directory: Vec::new(),
            sections: 0,
        }
    }

    pub fn section(&mut self, section: Section, fill: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        let start = self.bytes.len().next_multiple_of(ALIGNMENT);
        self.bytes.resize(start, 0);
        fill(&mut self.bytes)?;
        self.directory.push(section as u8);
        put_u64(&mut self.directory, start as u64);
        put_u64(&mut self.directory, (self.bytes.len() - start) as u64);
        self.directory
            .extend_from_slice(&crc32fast::hash(&self.bytes[start..]).to_le_bytes());
        self.sections += 1;
        Ok(())
    }

    pub fn finish(mut self) -> Result<Vec<u8>> {
        let start = self.bytes.len();
        put_u64(&mut self.bytes, self.sections);
        self.bytes.append(&mut self.directory);
        let directory = &self.bytes[start..];
        let len =
            u32::try_from(directory.len()).map_err(|_| Error::invalid_input("a sidecar has too many sections"))?;
        let crc = directory_crc(directory, self.bytes.len() + FOOTER_BYTES);
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(&crc.to_le_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&VERSION.to_le_bytes());
        self.bytes.extend_from_slice(MAGIC);
        Ok(self.bytes)
    }
}

/// Over the directory and the length of the file.
fn directory_crc(directory: &[u8], file_bytes: usize) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(directory);
    crc.update(&(file_bytes as u64).to_le_bytes());
    crc.finalize()
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    section: u8,
    start: usize,
    len: usize,
    crc: u32,
}

/// The sections of an open sidecar.
#[derive(Debug, Clone)]
pub(super) struct Sections {
    bytes: Buffer,
    entries: Vec<Entry>,
    crc: u32,
}

impl Sections {
    pub fn open(bytes: Buffer) -> Result<Self> {
        let corrupt = |what: &str, at: usize| Error::corruption(format!("the sidecar {what}")).with_offset(at as u64);
        let len = bytes.len();
        if len < HEADER_BYTES + FOOTER_BYTES {
            return Err(corrupt("is cut short", len));
        }
        let (head, foot) = (&bytes[..HEADER_BYTES], &bytes[len - FOOTER_BYTES..]);
        if !head.starts_with(MAGIC) {
            return Err(corrupt("does not begin as one", 0));
        }
        let mut reader = Reader::new(&head[MAGIC.len()..]);
        let version = reader.u32_le()?;
        // Both ends tell it: what only one does is damage.
        if version > VERSION
            && foot.ends_with(MAGIC)
            && foot[..FOOTER_BYTES - MAGIC.len()].ends_with(&version.to_le_bytes())
        {
            let message = format!(
                "the sidecar has version {version}, this Kodiak reads up to {VERSION}: use the version that wrote it"
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if version != VERSION || head[MAGIC.len() + 4..].iter().any(|&byte| byte != 0) {
            return Err(corrupt("has a header that was not written so", MAGIC.len()));
        }
        let mut reader = Reader::new(foot);
        let (directory_len, crc, reserved, version) = (
            reader.u32_le()? as usize,
            reader.u32_le()?,
            reader.u32_le()?,
            reader.u32_le()?,
        );
        if reader.take(MAGIC.len())? != MAGIC || reserved != 0 || version != VERSION {
            return Err(corrupt("does not end as one", len - FOOTER_BYTES));
        }
        let end = len - FOOTER_BYTES;
        let start = end.checked_sub(directory_len).filter(|start| *start >= HEADER_BYTES);
        let start = start.ok_or_else(|| corrupt("has a directory longer than itself", end))?;
        if directory_crc(&bytes[start..end], len) != crc {
            return Err(corrupt("has a directory whose checksum differs", start));
        }
        let entries = Self::directory(&bytes[start..end], start)?;
        // Padding is under no checksum of its own: it is zero, or the file is damaged.
        let mut gap = HEADER_BYTES;
        for entry in entries
            .iter()
            .map(|entry| (entry.start, entry.start + entry.len))
            .chain([(start, end)])
        {
            if bytes
                .get(gap..entry.0)
                .is_none_or(|padding| padding.iter().any(|&byte| byte != 0))
            {
                return Err(corrupt("has bytes between its sections", gap));
            }
            gap = entry.1;
        }
        Ok(Self { bytes, entries, crc })
    }

    fn directory(bytes: &[u8], limit: usize) -> Result<Vec<Entry>> {
        let mut reader = Reader::new(bytes);
        let count = reader.len(MAX_SECTIONS)?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let (section, start, len) = (reader.u8()?, reader.len(limit)?, reader.len(limit)?);
            if start + len > limit || !start.is_multiple_of(ALIGNMENT) {
                return Err(Error::corruption(format!(
                    "section {section} of the sidecar is not inside it"
                )));
            }
            entries.push(Entry {
                section,
                start,
                len,
                crc: reader.u32_le()?,
            });
        }
        Ok(entries)
    }

    pub fn bytes(&self) -> &Buffer {
        &self.bytes
    }

    pub fn crc(&self) -> u32 {
        self.crc
    }

    /// The verified bytes of a section, if the sidecar has it.
    pub fn get(&self, section: Section) -> Result<Option<Buffer>> {
        let Some(entry) = self.entries.iter().find(|entry| entry.section == section as u8) else {
            return Ok(None);
        };
        let bytes = self.bytes.slice_with_length(entry.start, entry.len);
        if crc32fast::hash(&bytes) != entry.crc {
            let message = format!("the checksum of the sidecar's section {section:?} differs");
            return Err(Error::corruption(message).with_offset(entry.start as u64));
        }
        Ok(Some(bytes))
    }
}
