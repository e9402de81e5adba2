//! Looking into a file without knowing which index it is of.

use std::path::Path;
use std::sync::Arc;

use kodiak_core::index::{IndexFinding, IndexView, Root};
use kodiak_core::storage::Storage;
use kodiak_core::{Error, ErrorKind, Result};

use crate::pool::BufferPool;
use crate::store::Store;
use crate::store::piece::PAGE;
use crate::tree::view::View;
use crate::tree::{dump, verify};

/// An index file, open for looking into it. Nothing is ever changed.
#[derive(Debug)]
pub struct IndexFile {
    store: Arc<Store>,
}

/// Memory for looking into a file: nodes that several roots share are mostly read once.
const POOL: usize = 16 << 20;

impl IndexFile {
    /// Opens a file.
    ///
    /// # Errors
    /// `NotFound`, `Corruption`, `Unsupported`, `Io`.
    pub fn open(storage: &dyn Storage, path: &Path) -> Result<Self> {
        Ok(Self {
            store: Arc::new(Store::open_any(storage, path, BufferPool::new(POOL))?),
        })
    }

    /// The kind of index.
    pub fn kind(&self) -> String {
        self.store.names().kind
    }

    /// The name of the upsert operator; empty for none.
    pub fn upsert(&self) -> String {
        self.store.names().upsert
    }

    /// What the index is part of, as whoever made it has said; empty if that is not known.
    pub fn owner(&self) -> Vec<u8> {
        self.store.names().owner
    }

    /// Compares the [owner](Self::owner) with what it should be. Nothing is told if either is empty.
    ///
    /// # Errors
    /// `Corruption`.
    pub fn check_owner(&self, owner: &[u8]) -> Result<()> {
        let checked = self.store.names().check_owner(owner);
        checked.map_err(|error| error.with_file(&self.store.path))
    }

    /// The committed roots that have not been released.
    pub fn roots(&self) -> Vec<Root> {
        self.store.space.lock().roots.keys().map(|&id| Root(id)).collect()
    }

    /// Opens a committed root for reading. In an index with an upsert operator, keys with operands cannot be read.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn view(&self, root: Root) -> Result<Arc<dyn IndexView>> {
        Ok(Arc::new(View::open(&self.store, None, root)?))
    }

    /// Bytes in use, and bytes that wait to be used again.
    pub fn space(&self) -> (u64, u64) {
        let space = self.store.space.lock();
        let free = space.free.pages();
        ((space.end - free) * PAGE, free * PAGE)
    }

    /// [`Index::verify`](kodiak_core::index::Index::verify).
    ///
    /// # Errors
    /// `Io`; `Locked` if something seems to be wrong, and whoever has the file open has committed to it since it was opened here.
    pub fn verify(&self, finding: &mut dyn FnMut(IndexFinding)) -> Result<()> {
        let mut findings = Vec::new();
        verify::verify(&self.store, &mut |found| findings.push(found))?;
        if !findings.is_empty() && self.store.is_overtaken()? {
            return Err(self.changed());
        }
        findings.into_iter().for_each(finding);
        Ok(())
    }

    fn changed(&self) -> Error {
        let message = "another process has committed to the index since it was opened here, and uses pages again: look again once it \
                       has closed it";
        Error::new(ErrorKind::Locked, message).with_file(&self.store.path)
    }

    /// [`Index::dump`](kodiak_core::index::Index::dump).
    ///
    /// # Errors
    /// `NotFound`, `Corruption`, `Io`; `Locked` for what seems to be damage, if whoever has the file open has committed to it since it was
    /// opened here.
    pub fn dump(&self, root: Root, line: &mut dyn FnMut(String)) -> Result<()> {
        let dumped = dump::dump(&self.store, root, line);
        match &dumped {
            Err(error) if error.kind() == ErrorKind::Corruption && self.store.is_overtaken()? => Err(self.changed()),
            _ => dumped,
        }
    }
}
