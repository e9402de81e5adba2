//! LMDB, a memory-mapped copy-on-write B-tree in C, through heed.
#![allow(unsafe_code)]

use std::ops::Bound;
use std::path::Path;

use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, RoTxn, WithTls};

use crate::engine::{Engine, OpenOptions, Reader, Result};

type Table = Database<Bytes, Bytes>;

pub struct Lmdb {
    env: Env,
    table: Table,
}

pub struct LmdbReader<'a> {
    transaction: RoTxn<'a, WithTls>,
    table: Table,
}

impl Engine for Lmdb {
    type Reader<'a> = LmdbReader<'a>;

    fn open(dir: &Path, options: &OpenOptions) -> Result<Self> {
        let mut open = EnvOpenOptions::new();
        // Room for pages half full and for those that a reader holds back; the file grows only as pages are written.
        open.map_size(usize::try_from(
            (options.data * 8).next_multiple_of(1 << 20) + (1 << 30),
        )?);
        if !options.durable {
            // SAFETY: NO_SYNC gives up durability against power loss, not the soundness of the map.
            unsafe { open.flags(EnvFlags::NO_SYNC) };
        }
        // SAFETY: the directory belongs to this run: nothing else opens or changes the file.
        let env = unsafe { open.open(dir)? };
        let mut transaction = env.write_txn()?;
        let table = env.create_database(&mut transaction, None)?;
        transaction.commit()?;
        Ok(Self { env, table })
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.put_batch(std::iter::once((key, value)))
    }

    fn put_batch<'a>(&self, entries: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<()> {
        let mut transaction = self.env.write_txn()?;
        for (key, value) in entries {
            self.table.put(&mut transaction, key, value)?;
        }
        Ok(transaction.commit()?)
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        let mut transaction = self.env.write_txn()?;
        self.table.delete(&mut transaction, key)?;
        Ok(transaction.commit()?)
    }

    fn reader(&self) -> Result<LmdbReader<'_>> {
        Ok(LmdbReader {
            transaction: self.env.read_txn()?,
            table: self.table,
        })
    }

    fn drain(&self) -> Result<()> {
        Ok(self.env.force_sync()?)
    }

    fn close(self) -> Result<()> {
        self.drain()?;
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}

impl Reader for LmdbReader<'_> {
    #[inline]
    fn get<T>(&self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        Ok(self.table.get(&self.transaction, key)?.map(found))
    }

    #[inline]
    fn scan(&self, start: &[u8], mut visit: impl FnMut(&[u8], &[u8]) -> bool) -> Result<()> {
        if start.is_empty() {
            // LMDB has no empty keys, also not as a bound.
            for entry in self.table.iter(&self.transaction)? {
                let (key, value) = entry?;
                if !visit(key, value) {
                    break;
                }
            }
            return Ok(());
        }
        let range = (Bound::Included(start), Bound::Unbounded);
        for entry in self.table.range(&self.transaction, &range)? {
            let (key, value) = entry?;
            if !visit(key, value) {
                break;
            }
        }
        Ok(())
    }
}
