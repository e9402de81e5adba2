//! A block format for key-value tables: entries one after the other, with nothing to search by.
//!
//! The file is its blocks, then of each block the rows and bytes, then the number of blocks and the letters `LIST`, all
//! numbers as 32-bit little-endian integers.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, BinaryArray, Int8Array, Int64Array, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::DataType;
use kodiak::core::block::{Block, Codecs, ColumnBlock, Values};
use kodiak::core::format::{
    BlockDecoder, BlockFormat, BlockHandle, BlockWriter, Compression, FileLayout, FormatCapabilities, FormatFactory,
    Part, Projection, WriteOptions,
};
use kodiak::core::registry::Component;
use kodiak::core::storage::{ReadableFile, WritableFile};
use kodiak::core::varint::{Reader, put_bytes, put_u64};
use kodiak::{Error, Result, TableSchema};

/// The format `list`.
pub static FACTORY: FormatFactory = FormatFactory {
    component: Component {
        name: "list",
        summary: "Entries one after the other, for a test.",
        options: &[],
    },
    capabilities: FormatCapabilities {
        random_access_without_decode: false,
        compressions: &[Compression::None],
        statistics: false,
        open: false,
        extension: "list",
        refuses,
    },
    create: || Arc::new(List),
};

const MAGIC: [u8; 4] = *b"LIST";

fn refuses(data_type: &DataType) -> Option<String> {
    (*data_type != DataType::Binary).then(|| "a list holds bytes only".to_owned())
}

#[derive(Debug)]
struct List;

impl BlockFormat for List {
    fn create(
        &self,
        file: Box<dyn WritableFile>,
        schema: &TableSchema,
        _options: &WriteOptions,
    ) -> Result<Box<dyn BlockWriter>> {
        FACTORY.capabilities.check("list", schema)?;
        Ok(Box::new(ListWriter {
            file,
            layout: FileLayout::default(),
        }))
    }

    fn open(
        &self,
        _schema: &TableSchema,
        _codecs: &Codecs,
        _shared: &[Buffer],
        max_decoded: usize,
    ) -> Result<Arc<dyn BlockDecoder>> {
        Ok(Arc::new(ListDecoder { max_decoded }))
    }

    fn recover(&self, file: &dyn ReadableFile, _schema: &TableSchema) -> Result<FileLayout> {
        let damaged = || Error::corruption("not a list file");
        let number = |at: u64| -> Result<u32> {
            let bytes = file.read(at, 4)?;
            Ok(u32::from_le_bytes(bytes.as_slice().try_into().map_err(|_| damaged())?))
        };
        let end = file.len().checked_sub(8).ok_or_else(damaged)?;
        if file.read(end + 4, 4)?.as_slice() != MAGIC {
            return Err(damaged());
        }
        let count = u64::from(number(end)?);
        let table = end.checked_sub(count * 8).ok_or_else(damaged)?;
        let mut layout = FileLayout {
            file_bytes: file.len(),
            ..FileLayout::default()
        };
        let mut offset = 0;
        for at in (table..end).step_by(8) {
            let (rows, len) = (number(at)?, u64::from(number(at + 4)?));
            let crc = crc32fast::hash(&file.read(offset, usize::try_from(len).map_err(|_| damaged())?)?);
            layout.blocks.push(BlockHandle {
                rows,
                parts: vec![Part { offset, len, crc }],
            });
            offset += len;
        }
        if offset == table { Ok(layout) } else { Err(damaged()) }
    }
}

struct ListWriter {
    file: Box<dyn WritableFile>,
    layout: FileLayout,
}

impl ListWriter {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(|source| Error::io("write", "list".as_ref(), source))
    }
}

impl BlockWriter for ListWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let column = |index: usize| batch.column(index).as_any();
        let (Some(keys), Some(values), Some(seqs), Some(ops)) = (
            column(0).downcast_ref::<BinaryArray>(),
            column(1).downcast_ref::<BinaryArray>(),
            column(2).downcast_ref::<Int64Array>(),
            column(3).downcast_ref::<Int8Array>(),
        ) else {
            return Err(Error::invalid_input("the columns are not those of a key-value table"));
        };
        let mut bytes = Vec::new();
        for row in 0..batch.num_rows() {
            put_bytes(&mut bytes, keys.value(row));
            put_u64(&mut bytes, seqs.value(row) as u64);
            bytes.push(ops.value(row) as u8);
            put_bytes(&mut bytes, values.value(row));
        }
        let part = Part {
            offset: self.file.position(),
            len: bytes.len() as u64,
            crc: crc32fast::hash(&bytes),
        };
        self.put(&bytes)?;
        self.layout.blocks.push(BlockHandle {
            rows: batch.num_rows() as u32,
            parts: vec![part],
        });
        Ok(())
    }

    fn estimated_bytes(&self) -> u64 {
        self.file.position()
    }

    fn finish(mut self: Box<Self>, sync: bool) -> Result<FileLayout> {
        let mut table = Vec::new();
        for block in &self.layout.blocks {
            table.extend(block.rows.to_le_bytes());
            table.extend((block.bytes() as u32).to_le_bytes());
        }
        table.extend((self.layout.blocks.len() as u32).to_le_bytes());
        table.extend(MAGIC);
        self.put(&table)?;
        self.layout.file_bytes = self.file.position();
        self.file.finish(sync)?;
        Ok(self.layout)
    }
}

#[derive(Debug)]
struct ListDecoder {
    max_decoded: usize,
}

impl BlockDecoder for ListDecoder {
    fn decode(&self, handle: &BlockHandle, parts: &[Buffer], _projection: &Projection) -> Result<Arc<dyn Block>> {
        let [part] = parts else {
            return Err(Error::corruption("a list block has one part"));
        };
        if part.len() > self.max_decoded {
            return Err(Error::corruption("a list block is larger than allowed"));
        }
        let mut reader = Reader::new(part);
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let (mut seqs, mut ops) = (Vec::new(), Vec::new());
        for _ in 0..handle.rows {
            keys.push(reader.bytes()?);
            seqs.push(reader.u64()? as i64);
            ops.push(reader.u8()? as i8);
            values.push(reader.bytes()?);
        }
        let values = Values::Binary(BinaryArray::from_vec(values));
        Ok(Arc::new(ColumnBlock::new(
            BinaryArray::from_vec(keys),
            seqs.into(),
            ops.into(),
            values,
        )?))
    }
}
