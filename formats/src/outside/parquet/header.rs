//! Page headers of any writer.

use kodiak_core::{Error, ErrorKind, Result};
use parquet::basic::Encoding;

use crate::parquet::thrift::{Reader, kind};

/// What a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageKind {
    Data,
    Dictionary,
    DataV2,
    /// Of no use to a reader.
    Other,
}

/// What the header of a page says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub kind: PageKind,
    pub uncompressed: usize,
    pub compressed: usize,
    pub crc: Option<u32>,
    pub values: usize,
    pub encoding: Encoding,
    /// Of definition levels, in pages of version 1.
    pub level_encoding: Encoding,
    /// Of repetition levels, in pages of version 1.
    pub repetition_encoding: Encoding,
    /// Of pages of version 2.
    pub nulls: usize,
    pub rows: usize,
    pub levels: usize,
    pub repetitions: usize,
    pub is_compressed: bool,
    /// Of dictionaries.
    pub sorted: bool,
}

#[derive(Debug, Default)]
struct Inner {
    values: Option<usize>,
    encoding: Option<i64>,
    level_encoding: Option<i64>,
    repetition_encoding: Option<i64>,
    nulls: usize,
    rows: usize,
    levels: usize,
    repetitions: usize,
    stored: bool,
    sorted: bool,
}

impl Header {
    /// Reads a header and returns it with its length; `None` if the bytes end early or make no sense.
    pub fn read(bytes: &[u8]) -> Option<Result<(Self, usize)>> {
        let mut reader = Reader::new(bytes);
        let (mut page, mut uncompressed, mut compressed, mut crc) = (None, None, None, None);
        let mut inner: Option<Inner> = None;
        let mut last = 0;
        while let Some((id, field)) = reader.field(&mut last)? {
            match (id, field) {
                (1, kind::I32) => page = Some(reader.int()?),
                (2, kind::I32) => uncompressed = Some(reader.size()?),
                (3, kind::I32) => compressed = Some(reader.size()?),
                (4, kind::I32) => crc = Some(i32::try_from(reader.int()?).ok()? as u32),
                (5, kind::STRUCT) => inner = Some(Inner::data(&mut reader)?),
                (7, kind::STRUCT) => inner = Some(Inner::dictionary(&mut reader)?),
                (8, kind::STRUCT) => inner = Some(Inner::data_v2(&mut reader)?),
                _ => reader.skip(field)?,
            }
        }
        let kind = match page? {
            0 => PageKind::Data,
            2 => PageKind::Dictionary,
            3 => PageKind::DataV2,
            _ => PageKind::Other,
        };
        let inner = match (kind, inner) {
            (_, Some(inner)) => inner,
            (PageKind::Other, None) => Inner::default(),
            (_, None) => return None,
        };
        let encodings = [
            inner.encoding.unwrap_or_default(),
            // Those of levels are runs unless the header says otherwise.
            inner.level_encoding.unwrap_or(3),
            inner.repetition_encoding.unwrap_or(3),
        ];
        let [encoding, level_encoding, repetition_encoding] = match encodings.map(encoding) {
            [Ok(encoding), Ok(levels), Ok(repetitions)] => [encoding, levels, repetitions],
            [Err(error), _, _] | [_, Err(error), _] | [_, _, Err(error)] => return Some(Err(error)),
        };
        let header = Self {
            kind,
            uncompressed: uncompressed?,
            compressed: compressed?,
            crc,
            values: inner.values.unwrap_or_default(),
            encoding,
            level_encoding,
            repetition_encoding,
            nulls: inner.nulls,
            rows: inner.rows,
            levels: inner.levels,
            repetitions: inner.repetitions,
            is_compressed: !inner.stored,
            sorted: inner.sorted,
        };
        Some(Ok((header, reader.position())))
    }
}

impl Inner {
    fn data(reader: &mut Reader<'_>) -> Option<Self> {
        let mut inner = Self::default();
        let mut last = 0;
        while let Some((id, field)) = reader.field(&mut last)? {
            match (id, field) {
                (1, kind::I32) => inner.values = Some(reader.size()?),
                (2, kind::I32) => inner.encoding = Some(reader.int()?),
                (3, kind::I32) => inner.level_encoding = Some(reader.int()?),
                (4, kind::I32) => inner.repetition_encoding = Some(reader.int()?),
                _ => reader.skip(field)?,
            }
        }
        Some(inner)
    }

    fn dictionary(reader: &mut Reader<'_>) -> Option<Self> {
        let mut inner = Self::default();
        let mut last = 0;
        while let Some((id, field)) = reader.field(&mut last)? {
            match (id, field) {
                (1, kind::I32) => inner.values = Some(reader.size()?),
                (2, kind::I32) => inner.encoding = Some(reader.int()?),
                (3, kind::TRUE) => inner.sorted = true,
                (3, kind::FALSE) => inner.sorted = false,
                _ => reader.skip(field)?,
            }
        }
        Some(inner)
    }

    fn data_v2(reader: &mut Reader<'_>) -> Option<Self> {
        let mut inner = Self::default();
        let mut last = 0;
        while let Some((id, field)) = reader.field(&mut last)? {
            match (id, field) {
                (1, kind::I32) => inner.values = Some(reader.size()?),
                (2, kind::I32) => inner.nulls = reader.size()?,
                (3, kind::I32) => inner.rows = reader.size()?,
                (4, kind::I32) => inner.encoding = Some(reader.int()?),
                (5, kind::I32) => inner.levels = reader.size()?,
                (6, kind::I32) => inner.repetitions = reader.size()?,
                (7, kind::TRUE) => inner.stored = false,
                (7, kind::FALSE) => inner.stored = true,
                _ => reader.skip(field)?,
            }
        }
        Some(inner)
    }
}

/// The encoding of a number.
fn encoding(number: i64) -> Result<Encoding> {
    Ok(match number {
        0 => Encoding::PLAIN,
        2 => Encoding::PLAIN_DICTIONARY,
        3 => Encoding::RLE,
        #[allow(deprecated, reason = "old files have it")]
        4 => Encoding::BIT_PACKED,
        5 => Encoding::DELTA_BINARY_PACKED,
        6 => Encoding::DELTA_LENGTH_BYTE_ARRAY,
        7 => Encoding::DELTA_BYTE_ARRAY,
        8 => Encoding::RLE_DICTIONARY,
        9 => Encoding::BYTE_STREAM_SPLIT,
        other => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("a page has the unknown encoding {other}"),
            ));
        }
    })
}
