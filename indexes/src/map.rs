//! Indexes that stand for themselves.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use kodiak_core::index::{Index, IndexContext, IndexFactory, IndexView, Root};
use kodiak_core::options::Options;
use kodiak_core::registry::Registry;
use kodiak_core::storage::{Lock, Storage};
use kodiak_core::{Error, Result};

use crate::store::dir_of;

/// An index that is nobody's part: one file, made when it is first opened, and beside it an empty one, with `.lock` at the end of its
/// name, that keeps others from opening it meanwhile. It is an [`Index`] in every other way; [`save`](Self::save) is for those who need no
/// older states.
///
/// What was not committed when it is dropped is lost.
#[derive(Debug)]
pub struct Map {
    index: Box<dyn Index>,
    // Freed after the file is closed.
    _lock: Box<dyn Lock>,
}

impl Map {
    /// Opens the index in a file, or makes a new one, of the kind that [`ALL`](crate::ALL) has by this name, with default options and a
    /// pool of so many bytes, without upserts and owner.
    ///
    /// # Errors
    /// As [`open_with`](Self::open_with); besides, `InvalidSettings` that lists the kinds.
    pub fn open(storage: Arc<dyn Storage>, path: impl Into<PathBuf>, kind: &str, pool: usize) -> Result<Self> {
        let factory = Registry::new(crate::ALL).find(kind)?;
        let context = IndexContext {
            storage,
            path: path.into(),
            pool: (factory.pool)(pool),
            options: Options::defaults(factory.component.options),
            upsert: None,
            owner: Vec::new(),
        };
        Self::open_with(factory, context)
    }

    /// Opens the index in a file, or makes a new one. The file keeps the [owner](IndexContext::owner), if there is one: a program with several
    /// maps that gives each its own cannot take the file of one for that of another.
    ///
    /// # Errors
    /// `Locked` if it is open, here or in another process; `InvalidSettings` for a pool that is too small, or a file that another kind of
    /// index or another upsert operator has made; `Corruption` for a file that is no index, damaged, or another owner's; `Unsupported` for one
    /// of a newer version; `InvalidInput` for an owner that is too long; `Io`.
    pub fn open_with(factory: &IndexFactory, context: IndexContext) -> Result<Self> {
        let mut lock = context.path.clone().into_os_string();
        lock.push(".lock");
        let lock = context.storage.lock(&PathBuf::from(lock))?;
        let index = match context.storage.len(&context.path)? {
            Some(_) => {
                let (storage, path) = (context.storage.clone(), context.path.clone());
                let index = (factory.open)(context)?;
                // Who made it may have been killed before its name was on the disk; nobody commits before that.
                if index.roots() == [Root(1)] {
                    storage.sync_dir(dir_of(&path))?;
                }
                index
            }
            None => (factory.create)(context)?,
        };
        Ok(Self { index, _lock: lock })
    }

    /// The newest committed state.
    ///
    /// # Errors
    /// Those of [`Index::view`].
    pub fn newest(&self) -> Result<Arc<dyn IndexView>> {
        let newest = self.index.roots().pop();
        self.index
            .view(newest.ok_or_else(|| Error::corruption("the index has no root"))?)
    }

    /// Commits, and gives every older state up, so that its space is used again; views that are there go on reading theirs. Returns the new
    /// state.
    ///
    /// # Errors
    /// Those of [`Index::commit`].
    pub fn save(&self) -> Result<Arc<dyn IndexView>> {
        let newest = self.index.commit()?;
        for root in self.index.roots().into_iter().filter(|root| *root < newest) {
            self.index.release(root)?;
        }
        self.index.view(newest)
    }
}

impl Deref for Map {
    type Target = dyn Index;

    fn deref(&self) -> &Self::Target {
        &*self.index
    }
}
