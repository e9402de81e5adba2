//! redb: a copy-on-write B-tree in Rust.

use std::path::Path;

use ::redb::{Database, Durability, ReadOnlyTable, ReadableDatabase, TableDefinition, WriteTransaction};

use crate::engine::{Engine, OpenOptions, Reader, Result};

const TABLE: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new("bench");

pub struct Redb {
    db: Database,
    durability: Durability,
}

impl Redb {
    fn begin(&self) -> Result<WriteTransaction> {
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(self.durability)?;
        Ok(transaction)
    }
}

impl Engine for Redb {
    type Reader<'a> = ReadOnlyTable<&'static [u8], &'static [u8]>;

    fn open(dir: &Path, options: &OpenOptions) -> Result<Self> {
        let cache = usize::try_from(options.cache)?;
        let db = Database::builder()
            .set_cache_size(cache)
            .create(dir.join("bench.redb"))?;
        let durability = if options.durable {
            Durability::Immediate
        } else {
            Durability::None
        };
        let transaction = db.begin_write()?;
        transaction.open_table(TABLE)?;
        transaction.commit()?;
        Ok(Self { db, durability })
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.put_batch(std::iter::once((key, value)))
    }

    fn put_batch<'a>(&self, entries: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<()> {
        let transaction = self.begin()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for (key, value) in entries {
                table.insert(key, value)?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        let transaction = self.begin()?;
        transaction.open_table(TABLE)?.remove(key)?;
        Ok(transaction.commit()?)
    }

    fn reader(&self) -> Result<Self::Reader<'_>> {
        // The table keeps its transaction alive.
        Ok(self.db.begin_read()?.open_table(TABLE)?)
    }

    fn drain(&self) -> Result<()> {
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        Ok(transaction.commit()?)
    }

    fn close(self) -> Result<()> {
        self.drain()
    }
}

impl Reader for ReadOnlyTable<&'static [u8], &'static [u8]> {
    #[inline]
    fn get<T>(&self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        Ok(ReadOnlyTable::get(self, key)?.map(|value| found(value.value())))
    }

    #[inline]
    fn scan(&self, start: &[u8], mut visit: impl FnMut(&[u8], &[u8]) -> bool) -> Result<()> {
        for entry in self.range(start..)? {
            let (key, value) = entry?;
            if !visit(key.value(), value.value()) {
                break;
            }
        }
        Ok(())
    }
}
