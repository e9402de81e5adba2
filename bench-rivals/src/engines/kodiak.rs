//! Kodiak with its default settings, and with compression.

use std::path::Path;

use ::kodiak::{Db, Settings, SyncMode, Table, TableSchema};

use crate::engine::{Engine, OpenOptions, Reader, Result};

/// `LZ4`: all levels are compressed, as in the engines that do so by default.
pub struct Kodiak<const LZ4: bool> {
    db: Db,
    table: Table,
}

impl<const LZ4: bool> Engine for Kodiak<LZ4> {
    type Reader<'a> = &'a Table;

    fn open(dir: &Path, options: &OpenOptions) -> Result<Self> {
        let mut settings = Settings::default();
        settings.memtable.size = options.memtable;
        settings.cache.capacity = options.cache;
        if LZ4 {
            settings.set("format.compression", "lz4")?;
        }
        if options.durable {
            settings.wal.sync = SyncMode::Full;
        }
        let db = Db::open(dir, settings)?;
        let table = db.table_or_create("bench", TableSchema::key_value())?;
        Ok(Self { db, table })
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.table.put(key, value)?)
    }

    fn put_batch<'a>(&self, entries: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<()> {
        let mut batch = self.db.batch();
        for (key, value) in entries {
            batch.put(&self.table, key, value);
        }
        Ok(self.db.write(batch)?)
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        Ok(self.table.delete(key)?)
    }

    fn reader(&self) -> Result<&Table> {
        Ok(&self.table)
    }

    fn drain(&self) -> Result<()> {
        self.db.flush()?;
        Ok(self.db.wait_idle()?)
    }

    fn close(self) -> Result<()> {
        drop(self.table);
        Ok(self.db.close()?)
    }
}

impl Reader for &Table {
    #[inline]
    fn get<T>(&self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        Ok(Table::get(self, key)?.map(|value| found(&value)))
    }

    #[inline]
    fn scan(&self, start: &[u8], mut visit: impl FnMut(&[u8], &[u8]) -> bool) -> Result<()> {
        let mut scan = Table::scan(self, start..)?;
        while let Some((key, value)) = scan.next_ref()? {
            if !visit(key, value) {
                break;
            }
        }
        Ok(())
    }
}
