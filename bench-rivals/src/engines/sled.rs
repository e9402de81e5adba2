//! sled: a Bw-tree-like engine in Rust.

use std::path::Path;

use ::sled::{Batch, Config, Db, Mode};

use crate::engine::{Engine, OpenOptions, Reader, Result};

pub struct Sled {
    db: Db,
    durable: bool,
}

impl Sled {
    fn persist(&self) -> Result<()> {
        if self.durable {
            self.db.flush()?;
        }
        Ok(())
    }
}

impl Engine for Sled {
    type Reader<'a> = &'a Db;

    fn open(dir: &Path, options: &OpenOptions) -> Result<Self> {
        let config = Config::new()
            .path(dir.join("sled"))
            .cache_capacity(options.cache)
            .mode(Mode::HighThroughput);
        Ok(Self {
            db: config.open()?,
            durable: options.durable,
        })
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.db.insert(key, value)?;
        self.persist()
    }

    fn put_batch<'a>(&self, entries: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<()> {
        let mut batch = Batch::default();
        for (key, value) in entries {
            batch.insert(key, value);
        }
        self.db.apply_batch(batch)?;
        self.persist()
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        self.db.remove(key)?;
        self.persist()
    }

    fn reader(&self) -> Result<&Db> {
        Ok(&self.db)
    }

    fn drain(&self) -> Result<()> {
        self.db.flush()?;
        Ok(())
    }

    fn close(self) -> Result<()> {
        self.drain()
    }
}

impl Reader for &Db {
    #[inline]
    fn get<T>(&self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        Ok(::sled::Tree::get(self, key)?.map(|value| found(&value)))
    }

    #[inline]
    fn scan(&self, start: &[u8], mut visit: impl FnMut(&[u8], &[u8]) -> bool) -> Result<()> {
        for entry in self.range(start..) {
            let (key, value) = entry?;
            if !visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }
}
