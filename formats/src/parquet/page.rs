//! Page headers: data pages of version 2, which keep the levels uncompressed before the values.

use super::thrift::{Reader, Writer, kind};
use kodiak_core::{Error, Result};

/// Parquet's numbers for the encodings in use.
pub(super) mod encoding {
    pub const PLAIN: i32 = 0;
    pub const DELTA_BINARY_PACKED: i32 = 5;
    pub const DELTA_LENGTH_BYTE_ARRAY: i32 = 6;
}

/// Parquet's number of the page type in use.
const DATA_PAGE_V2: i64 = 3;

/// What the header of a data page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageHeader {
    /// Bytes of the page after the header once decompressed, levels included.
    pub uncompressed: usize,
    /// Bytes of the page after the header, levels included.
    pub compressed: usize,
    /// CRC32 of the bytes after the header.
    pub crc: Option<u32>,
    /// Values, nulls included.
    pub values: usize,
    /// Rows: as many, unless there are lists.
    pub rows: usize,
    /// How many of them are null.
    pub nulls: usize,
    /// How values are encoded.
    pub encoding: i32,
    /// Bytes of repetition levels, which lie before the others.
    pub repetitions: usize,
    /// Bytes of definition levels.
    pub definitions: usize,
    /// True if what follows the levels is compressed.
    pub is_compressed: bool,
}

impl PageHeader {
    /// Bytes of all levels.
    pub fn levels(&self) -> usize {
        self.repetitions.saturating_add(self.definitions)
    }

    /// Appends the header. Every size is below 2^31 (the writer has checked).
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.i32(1, DATA_PAGE_V2 as i32);
        writer.i32(2, self.uncompressed as i32);
        writer.i32(3, self.compressed as i32);
        if let Some(crc) = self.crc {
            writer.i32(4, crc as i32);
        }
        writer.nested(8, |page| {
            page.i32(1, self.values as i32);
            page.i32(2, self.nulls as i32);
            page.i32(3, self.rows as i32);
            page.i32(4, self.encoding);
            page.i32(5, self.definitions as i32);
            page.i32(6, self.repetitions as i32);
            page.bool(7, self.is_compressed);
        });
        writer.end();
    }

    /// Reads a header and returns it with its length.
    ///
    /// # Errors
    /// `Corruption` if the bytes are no header, or that of a page which this format does not write.
    pub fn read(bytes: &[u8]) -> Result<(Self, usize)> {
        Self::parse(bytes)
            .ok_or_else(|| Error::corruption("a page header is cut off, malformed or of another page type"))
    }

    fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut reader = Reader::new(bytes);
        let mut page_type = None;
        let (mut uncompressed, mut compressed, mut crc, mut data) = (None, None, None, None);
        let mut last = 0;
        while let Some((id, field)) = reader.field(&mut last)? {
            match (id, field) {
                (1, kind::I32) => page_type = Some(reader.int()?),
                (2, kind::I32) => uncompressed = Some(reader.size()?),
                (3, kind::I32) => compressed = Some(reader.size()?),
                (4, kind::I32) => crc = Some(i32::try_from(reader.int()?).ok()? as u32),
                (8, kind::STRUCT) => data = Some(DataHeader::parse(&mut reader)?),
                _ => reader.skip(field)?,
            }
        }
        let data = data.filter(|_| page_type == Some(DATA_PAGE_V2))?;
        let header = Self {
            uncompressed: uncompressed?,
            compressed: compressed?,
            crc,
            values: data.values?,
            rows: data.rows?,
            nulls: data.nulls?,
            encoding: data.encoding?,
            repetitions: data.repetitions?,
            definitions: data.levels?,
            is_compressed: data.is_compressed,
        };
        // Each row has a value, or what stands for none.
        let sound = header.rows <= header.values
            && header.nulls <= header.values
            && header.levels() <= header.compressed
            && header.levels() <= header.uncompressed
            && (header.is_compressed || header.compressed == header.uncompressed);
        sound.then_some((header, reader.position()))
    }
}

#[derive(Debug)]
struct DataHeader {
    values: Option<usize>,
    nulls: Option<usize>,
    rows: Option<usize>,
    encoding: Option<i32>,
    levels: Option<usize>,
    repetitions: Option<usize>,
    is_compressed: bool,
}

impl DataHeader {
    fn parse(reader: &mut Reader<'_>) -> Option<Self> {
        let mut header = Self {
            values: None,
            nulls: None,
            rows: None,
            encoding: None,
            levels: None,
            repetitions: None,
            // Parquet's default for a field that is absent.
            is_compressed: true,
        };
        let mut last = 0;
        while let Some((id, field)) = reader.field(&mut last)? {
            match (id, field) {
                (1, kind::I32) => header.values = Some(reader.size()?),
                (2, kind::I32) => header.nulls = Some(reader.size()?),
                (3, kind::I32) => header.rows = Some(reader.size()?),
                (4, kind::I32) => header.encoding = Some(i32::try_from(reader.int()?).ok()?),
                (5, kind::I32) => header.levels = Some(reader.size()?),
                (6, kind::I32) => header.repetitions = Some(reader.size()?),
                (7, kind::TRUE) => header.is_compressed = true,
                (7, kind::FALSE) => header.is_compressed = false,
                _ => reader.skip(field)?,
            }
        }
        Some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: PageHeader = PageHeader {
        uncompressed: 5000,
        compressed: 4000,
        crc: Some(0xDEAD_BEEF),
        values: 300,
        rows: 300,
        nulls: 2,
        encoding: encoding::DELTA_LENGTH_BYTE_ARRAY,
        repetitions: 0,
        definitions: 40,
        is_compressed: true,
    };

    #[test]
    fn a_header_reads_back_and_its_bytes_are_golden() {
        let mut out = Vec::new();
        HEADER.write(&mut out);
        assert_eq!(PageHeader::read(&out).expect("own header"), (HEADER, out.len()));
        let golden = [
            0x15, 0x06, 0x15, 0x90, 0x4E, 0x15, 0xC0, 0x3E, 0x15, 0xA1, 0x84, 0x92, 0x95, 0x04, 0x4C, 0x15, 0xD8, 0x04,
            0x15, 0x04, 0x15, 0xD8, 0x04, 0x15, 0x0C, 0x15, 0x50, 0x15, 0x00, 0x11, 0x00, 0x00,
        ];
        assert_eq!(out, golden);
    }

    #[test]
    fn every_prefix_of_a_header_is_refused() {
        let mut out = Vec::new();
        HEADER.write(&mut out);
        for len in 0..out.len() {
            assert!(PageHeader::read(&out[..len]).is_err(), "prefix of {len} bytes");
        }
    }

    #[test]
    fn contradictory_headers_are_refused() {
        for header in [
            PageHeader { nulls: 301, ..HEADER },
            PageHeader {
                definitions: 4001,
                ..HEADER
            },
            PageHeader {
                repetitions: 3961,
                ..HEADER
            },
            PageHeader { rows: 301, ..HEADER },
            PageHeader {
                is_compressed: false,
                ..HEADER
            },
        ] {
            let mut out = Vec::new();
            header.write(&mut out);
            assert!(PageHeader::read(&out).is_err(), "{header:?}");
        }
    }
}
