//! The pages of a column in a row group, checked and decompressed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use kodiak_core::storage::ReadableFile;
use kodiak_core::{Error, ErrorKind, Result};
use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::ParquetError;
use parquet::schema::types::ColumnDescPtr;

use super::super::codec::Codec;
use super::super::{MAX_DECODED, check_decoded};
use super::check::is_bounded;
use super::header::{Header, PageKind};
use crate::file::read_at;
use crate::parquet::footer::Chunk;

/// Bytes of a page as it lies in the file, at most.
const MAX_COMPRESSED: usize = 256 << 20;
/// Bytes of a page once decompressed, at most.
const MAX_PAGE: usize = 256 << 20;
/// Values of a page, at most: nulls and repetitions take no bytes.
const MAX_VALUES: usize = 1 << 26;
/// What is read at first to find a header, and what is read at most (headers hold statistics).
const HEADERS: [u64; 2] = [1 << 10, 16 << 20];

pub(super) struct ChunkPages {
    file: Arc<dyn ReadableFile>,
    codec: Codec,
    column: ColumnDescPtr,
    at: u64,
    end: u64,
    /// Values that the row group may yet have: one for each row, if there are no lists.
    left: u64,
    seen_data: bool,
    taken: Arc<Taken>,
}

/// Bytes in memory of what lists hold, of all the pages handed out for the rows that are being decoded: few bytes of a file can stand
/// for very many items, and they may all be in one row.
#[derive(Debug, Default)]
pub(super) struct Taken(AtomicU64);

impl Taken {
    /// Other rows are decoded next.
    pub fn begin(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn take(&self, values: u64, each: u64) -> Result<()> {
        let bytes = values.saturating_mul(each);
        if self.0.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > MAX_DECODED as u64 {
            let message =
                "the lists of a few rows hold more than can be read at once: write smaller pages or shorter lists";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Ok(())
    }
}

impl ChunkPages {
    pub fn new(
        file: Arc<dyn ReadableFile>,
        chunk: Chunk,
        rows: u64,
        column: ColumnDescPtr,
        taken: Arc<Taken>,
    ) -> Result<Self> {
        let codec = match chunk.codec {
            0 => Codec::None,
            1 => Codec::Snappy,
            2 => Codec::Gzip,
            5 => Codec::Lz4Hadoop,
            6 => Codec::Zstd,
            7 => Codec::Lz4,
            other => {
                let name = match other {
                    3 => "LZO",
                    4 => "Brotli",
                    _ => "an unknown codec",
                };
                let message = format!(
                    "column \"{}\" is compressed with {name}; none, snappy, gzip, lz4 and zstd are read",
                    column.name()
                );
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
        };
        Ok(Self {
            file,
            codec,
            at: chunk.offset,
            end: chunk.offset + chunk.len,
            left: if column.max_rep_level() > 0 { chunk.values } else { rows },
            column,
            seen_data: false,
            taken,
        })
    }

    fn next_page(&mut self) -> Result<Option<Page>> {
        // Writers may leave room behind the last page.
        while self.at < self.end && self.left > 0 {
            let at = self.at;
            let page = self.page().map_err(|error| error.with_offset(at))?;
            if page.is_some() {
                return Ok(page);
            }
        }
        Ok(None)
    }

    fn page(&mut self) -> Result<Option<Page>> {
        let (header, header_len) = self.header(self.at)?;
        let start = self.at + header_len as u64;
        let compressed = header.compressed as u64;
        if header.compressed > MAX_COMPRESSED || compressed > self.end - start.min(self.end) {
            return Err(Error::corruption(format!(
                "a page claims {compressed} bytes, more than its column has or a page may have"
            )));
        }
        self.at = start + compressed;
        if header.kind == PageKind::Other {
            return Ok(None);
        }
        let body = read_at(&*self.file, start, compressed)?;
        if header.crc.is_some_and(|crc| crc != crc32fast::hash(&body)) {
            return Err(Error::corruption("a page's checksum differs from its bytes"));
        }
        if header.kind == PageKind::Dictionary {
            return self.dictionary(&header, &body).map(Some);
        }
        let values = header.values as u64;
        if header.values > MAX_VALUES || values > self.left {
            return Err(Error::corruption(format!(
                "a page claims {values} values where {} are left in its row group",
                self.left
            )));
        }
        if self.column.max_rep_level() > 0 {
            // Levels, and a value of whatever type or a view of it.
            let width = self.column.type_length().max(32);
            self.taken.take(values, width as u64 + 4)?;
        }
        self.left -= values;
        self.seen_data = true;
        match header.kind {
            PageKind::DataV2 => self.data_v2(&header, &body),
            _ => self.data(&header, &body),
        }
        .map(Some)
    }

    fn header(&self, at: u64) -> Result<(Header, usize)> {
        for len in HEADERS {
            let bytes = read_at(&*self.file, at, len.min(self.end - at))?;
            if let Some(header) = Header::read(&bytes) {
                return header;
            }
        }
        Err(Error::corruption("a page header is cut off or malformed"))
    }

    fn decompress(&self, bytes: &[u8], len: usize) -> Result<Vec<u8>> {
        check_decoded(bytes.len(), len, MAX_PAGE)?;
        self.codec.decompress(bytes, len)
    }

    fn dictionary(&mut self, header: &Header, body: &[u8]) -> Result<Page> {
        let buf = self.decompress(body, header.uncompressed)?;
        let width = match self.column.physical_type() {
            Type::BOOLEAN => return Err(Error::corruption("a column of truth values has a dictionary")),
            Type::INT32 | Type::FLOAT | Type::BYTE_ARRAY => 4,
            Type::INT64 | Type::DOUBLE => 8,
            Type::INT96 => 12,
            Type::FIXED_LEN_BYTE_ARRAY => usize::try_from(self.column.type_length()).unwrap_or(0).max(1),
        };
        if self.seen_data || header.values.saturating_mul(width) > buf.len() {
            return Err(Error::corruption(format!(
                "a dictionary of {} bytes cannot have {} values, or comes too late",
                buf.len(),
                header.values
            )));
        }
        let encoding = match header.encoding {
            Encoding::PLAIN | Encoding::PLAIN_DICTIONARY => header.encoding,
            other => return Err(Error::corruption(format!("a dictionary has the encoding {other}"))),
        };
        Ok(Page::DictionaryPage {
            buf: Bytes::from(buf),
            num_values: header.values as u32,
            encoding,
            is_sorted: header.sorted,
        })
    }

    fn data(&self, header: &Header, body: &[u8]) -> Result<Page> {
        let buf = self.decompress(body, header.uncompressed)?;
        let rest = self.after_levels(
            &buf,
            self.column.max_rep_level(),
            header.repetition_encoding,
            header.values,
        );
        let rest = rest.and_then(|rest| {
            self.after_levels(rest, self.column.max_def_level(), header.level_encoding, header.values)
        });
        self.check(header, rest.unwrap_or_default())?;
        Ok(Page::DataPage {
            num_values: header.values as u32,
            encoding: header.encoding,
            def_level_encoding: header.level_encoding,
            rep_level_encoding: header.repetition_encoding,
            statistics: None,
            buf: Bytes::from(buf),
        })
    }

    fn data_v2(&self, header: &Header, body: &[u8]) -> Result<Page> {
        let levels = header.levels.saturating_add(header.repetitions);
        let wrong =
            || Error::corruption("a page's levels are longer than the page, or its counts contradict each other");
        let (head, packed) = body.split_at_checked(levels).ok_or_else(wrong)?;
        let len = header.uncompressed.checked_sub(levels).ok_or_else(wrong)?;
        if header.nulls > header.values || header.rows > header.values {
            return Err(wrong());
        }
        let buf = if header.is_compressed && self.codec != Codec::None && !packed.is_empty() {
            let values = self.decompress(packed, len)?;
            [head, &values].concat()
        } else if packed.len() == len {
            body.to_vec()
        } else {
            return Err(wrong());
        };
        self.check(header, &buf[levels..])?;
        Ok(Page::DataPageV2 {
            num_values: header.values as u32,
            encoding: header.encoding,
            num_nulls: header.nulls as u32,
            num_rows: header.rows as u32,
            def_levels_byte_len: header.levels as u32,
            rep_levels_byte_len: header.repetitions as u32,
            is_compressed: false,
            statistics: None,
            buf: Bytes::from(buf),
        })
    }

    /// What follows the levels, which are at most `max`, that a page of version 1 begins with.
    fn after_levels<'a>(&self, page: &'a [u8], max: i16, encoding: Encoding, values: usize) -> Option<&'a [u8]> {
        let len = match (max, encoding) {
            (0, _) => 0,
            (_, Encoding::RLE) => 4 + u32::from_le_bytes(*page.first_chunk()?) as usize,
            _ => (values * (i16::BITS - max.leading_zeros()) as usize).div_ceil(8),
        };
        page.get(len..)
    }

    /// True if the next page begins with a row, as those of version 2 do.
    fn at_row(&self) -> Result<bool> {
        let mut at = self.at;
        while at < self.end && self.left > 0 {
            let (header, len) = self.header(at)?;
            match header.kind {
                PageKind::Other => at = at.saturating_add(len as u64).saturating_add(header.compressed as u64),
                kind => return Ok(kind == PageKind::DataV2),
            }
        }
        Ok(true)
    }

    /// An error as the crate wants it; it is final.
    fn refused(&mut self, error: Error) -> ParquetError {
        self.end = self.at;
        let message = format!("column \"{}\"", self.column.name());
        let error = Error::new(error.kind(), message).with_source(error);
        ParquetError::External(Box::new(error))
    }

    fn check(&self, header: &Header, values: &[u8]) -> Result<()> {
        if !is_bounded(header.encoding, self.column.physical_type(), header.values, values) {
            return Err(Error::corruption(format!(
                "a page encoded as {} is malformed, or holds more than is allowed",
                header.encoding
            )));
        }
        Ok(())
    }
}

impl Iterator for ChunkPages {
    type Item = parquet::errors::Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for ChunkPages {
    fn get_next_page(&mut self) -> parquet::errors::Result<Option<Page>> {
        self.next_page().map_err(|error| self.refused(error))
    }

    fn peek_next_page(&mut self) -> parquet::errors::Result<Option<PageMetadata>> {
        Err(ParquetError::NYI("pages are read one after the other".to_owned()))
    }

    fn skip_next_page(&mut self) -> parquet::errors::Result<()> {
        self.get_next_page().map(|_| ())
    }

    fn at_record_boundary(&mut self) -> parquet::errors::Result<bool> {
        if self.column.max_rep_level() == 0 {
            // Each value is a row.
            return Ok(true);
        }
        self.at_row().map_err(|error| self.refused(error))
    }
}

/// The pages of one column, as the crate wants them.
pub(super) struct OneChunk(Option<ChunkPages>);

impl OneChunk {
    pub fn new(pages: ChunkPages) -> Self {
        Self(Some(pages))
    }
}

impl Iterator for OneChunk {
    type Item = parquet::errors::Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(|pages| Ok(Box::new(pages) as Box<dyn PageReader>))
    }
}

impl PageIterator for OneChunk {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lists_take_is_bounded_for_the_rows_at_hand() {
        let taken = Taken::default();
        for _ in 0..3 {
            taken.begin();
            taken.take(20_000_000, 36).expect("less than is allowed");
            let error = taken.take(20_000_000, 36).expect_err("more than is allowed");
            assert_eq!(error.kind(), ErrorKind::Unsupported);
        }
    }
}
