//! RocksDB, an LSM engine in C++.

use std::path::Path;

use ::rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, Options, WaitForCompactOptions, WriteBatch, WriteOptions,
};

use crate::engine::{Engine, OpenOptions, Reader, Result};

pub struct Rocks {
    db: DB,
    durable: bool,
}

impl Rocks {
    fn write_options(&self) -> WriteOptions {
        let mut options = WriteOptions::default();
        options.set_sync(self.durable);
        options
    }
}

impl Engine for Rocks {
    type Reader<'a> = &'a DB;

    fn open(dir: &Path, options: &OpenOptions) -> Result<Self> {
        let mut tables = BlockBasedOptions::default();
        tables.set_block_cache(&Cache::new_lru_cache(usize::try_from(options.cache)?));
        tables.set_bloom_filter(10.0, false);
        let mut open = Options::default();
        open.create_if_missing(true);
        open.set_write_buffer_size(usize::try_from(options.memtable)?);
        open.set_compression_type(DBCompressionType::Lz4);
        open.set_max_background_jobs(2);
        open.set_block_based_table_factory(&tables);
        Ok(Self {
            db: DB::open(&open, dir)?,
            durable: options.durable,
        })
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        if self.durable {
            return Ok(self.db.put_opt(key, value, &self.write_options())?);
        }
        Ok(self.db.put(key, value)?)
    }

    fn put_batch<'a>(&self, entries: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<()> {
        let mut batch = WriteBatch::default();
        for (key, value) in entries {
            batch.put(key, value);
        }
        Ok(self.db.write_opt(batch, &self.write_options())?)
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        Ok(self.db.delete_opt(key, &self.write_options())?)
    }

    fn reader(&self) -> Result<&DB> {
        Ok(&self.db)
    }

    fn drain(&self) -> Result<()> {
        self.db.flush()?;
        Ok(self.db.wait_for_compact(&WaitForCompactOptions::default())?)
    }

    fn close(self) -> Result<()> {
        Ok(self.db.flush_wal(true)?)
    }
}

impl Reader for &DB {
    #[inline]
    fn get<T>(&self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        Ok(self.get_pinned(key)?.map(|value| found(&value)))
    }

    #[inline]
    fn scan(&self, start: &[u8], mut visit: impl FnMut(&[u8], &[u8]) -> bool) -> Result<()> {
        let mut cursor = self.raw_iterator();
        cursor.seek(start);
        while let Some((key, value)) = cursor.item() {
            if !visit(key, value) {
                break;
            }
            cursor.next();
        }
        Ok(cursor.status()?)
    }
}
