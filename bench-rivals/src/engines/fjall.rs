//! fjall: an LSM engine in Rust.

use std::path::Path;
use std::time::Duration;

use ::fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::engine::{Engine, OpenOptions, Reader, Result};

pub struct Fjall {
    db: Database,
    keyspace: Keyspace,
    durable: bool,
}

impl Fjall {
    fn persist(&self) -> Result<()> {
        if self.durable {
            self.db.persist(PersistMode::SyncData)?;
        }
        Ok(())
    }
}

impl Engine for Fjall {
    type Reader<'a> = &'a Keyspace;

    fn open(dir: &Path, options: &OpenOptions) -> Result<Self> {
        let db = Database::builder(dir).cache_size(options.cache).open()?;
        let memtable = options.memtable;
        let keyspace = db.keyspace("bench", || KeyspaceCreateOptions::default().max_memtable_size(memtable))?;
        Ok(Self {
            db,
            keyspace,
            durable: options.durable,
        })
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.keyspace.insert(key, value)?;
        self.persist()
    }

    fn put_batch<'a>(&self, entries: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<()> {
        let mode = if self.durable {
            PersistMode::SyncData
        } else {
            PersistMode::Buffer
        };
        let mut batch = self.db.batch().durability(Some(mode));
        for (key, value) in entries {
            batch.insert(&self.keyspace, key, value);
        }
        Ok(batch.commit()?)
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        self.keyspace.remove(key)?;
        self.persist()
    }

    fn reader(&self) -> Result<&Keyspace> {
        Ok(&self.keyspace)
    }

    fn drain(&self) -> Result<()> {
        self.keyspace.rotate_memtable_and_wait()?;
        // A compaction that ends may cause the next one: idle is when nothing ran for a while.
        let mut quiet = 0;
        let mut completed = self.db.compactions_completed();
        while quiet < 10 {
            std::thread::sleep(Duration::from_millis(10));
            let now = self.db.compactions_completed();
            let busy = self.db.active_compactions() > 0 || self.db.outstanding_flushes() > 0 || now != completed;
            quiet = if busy { 0 } else { quiet + 1 };
            completed = now;
        }
        Ok(())
    }

    fn close(self) -> Result<()> {
        self.db.persist(PersistMode::SyncAll)?;
        Ok(())
    }
}

impl Reader for &Keyspace {
    #[inline]
    fn get<T>(&self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        Ok(Keyspace::get(self, key)?.map(|value| found(&value)))
    }

    #[inline]
    fn scan(&self, start: &[u8], mut visit: impl FnMut(&[u8], &[u8]) -> bool) -> Result<()> {
        for entry in self.range(start..) {
            let (key, value) = entry.into_inner()?;
            if !visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }
}
