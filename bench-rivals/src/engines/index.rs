//! Kodiak's indexes on their own: a B+ tree and a fractal tree as embedded maps.

use std::path::Path;
use std::sync::Arc;

use kodiak::core::index::{Index, IndexContext, Updates};
use kodiak::core::options::Options;
use kodiak_storage::LocalStorage;

use crate::engine::{Engine, OpenOptions, Reader, Result};

/// A fractal tree, or else a B+ tree.
pub struct Tree<const FRACTAL: bool> {
    index: Box<dyn Index>,
    durable: bool,
}

impl<const FRACTAL: bool> Tree<FRACTAL> {
    fn apply(&self, updates: &Updates) -> Result<()> {
        self.index.apply(updates, None)?;
        if self.durable { self.commit() } else { Ok(()) }
    }

    /// The newest root is the only one that is needed.
    fn commit(&self) -> Result<()> {
        let root = self.index.commit()?;
        for older in self.index.roots().into_iter().filter(|&older| older != root) {
            self.index.release(older)?;
        }
        Ok(())
    }
}

impl<const FRACTAL: bool> Engine for Tree<FRACTAL> {
    type Reader<'a> = &'a dyn Index;

    fn open(dir: &Path, options: &OpenOptions) -> Result<Self> {
        let kind = if FRACTAL { "fractal" } else { "bplus" };
        let factory = kodiak_indexes::ALL
            .iter()
            .find(|factory| factory.component.name == kind)
            .ok_or("no such index")?;
        let options_of_tree = Options::defaults(factory.component.options);
        let memory = usize::try_from(options.cache)?.max((factory.smallest_pool)(&options_of_tree));
        let path = dir.join("bench.index");
        let exists = path.exists();
        let context = IndexContext {
            storage: Arc::new(LocalStorage),
            path,
            pool: (factory.pool)(memory),
            options: options_of_tree,
            upsert: None,
            owner: Vec::new(),
        };
        let index = if exists {
            (factory.open)(context)?
        } else {
            (factory.create)(context)?
        };
        Ok(Self {
            index,
            durable: options.durable,
        })
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.apply(Updates::new().put(key, value))
    }

    fn put_batch<'a>(&self, entries: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<()> {
        let mut updates = Updates::new();
        for (key, value) in entries {
            updates.put(key, value);
        }
        self.apply(&updates)
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        self.apply(Updates::new().delete(key))
    }

    fn reader(&self) -> Result<&dyn Index> {
        Ok(&*self.index)
    }

    fn drain(&self) -> Result<()> {
        self.commit()
    }

    fn close(self) -> Result<()> {
        self.drain()
    }
}

/// Gets read the working state; a scan needs a root, which is new if anything has changed.
impl Reader for &dyn Index {
    #[inline]
    fn get<T>(&self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        Ok(Index::get(*self, key)?.map(|value| found(&value)))
    }

    fn scan(&self, start: &[u8], mut visit: impl FnMut(&[u8], &[u8]) -> bool) -> Result<()> {
        let mut cursor = self.view(self.commit()?)?.cursor();
        cursor.seek(start)?;
        while let (Some(key), Some(value)) = (cursor.key(), cursor.value()) {
            if !visit(key, value) {
                break;
            }
            cursor.next()?;
        }
        Ok(())
    }
}
