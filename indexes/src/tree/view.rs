//! Committed roots, open for reading.

use std::sync::Arc;

use kodiak_core::Result;
use kodiak_core::index::{IndexCursor, IndexView, Root, Upsert};

use super::cursor::Cursor;
use crate::store::Store;
use crate::store::space::RootInfo;

/// A committed root; its nodes stay as long as it does.
#[derive(Debug)]
pub(crate) struct View {
    pub store: Arc<Store>,
    pub upsert: Option<Arc<dyn Upsert>>,
    pub info: RootInfo,
    root: Root,
}

impl View {
    /// # Errors
    /// `NotFound`.
    pub(crate) fn open(store: &Arc<Store>, upsert: Option<Arc<dyn Upsert>>, root: Root) -> Result<Self> {
        Ok(Self {
            info: store.pin(root.0)?,
            store: store.clone(),
            upsert,
            root,
        })
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.store.unpin(self.root.0);
    }
}

impl IndexView for View {
    fn root(&self) -> Root {
        self.root
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match &self.info.top {
            None => Ok(None),
            Some(top) => super::read::get(&self.store, self.upsert.as_deref(), top, self.info.level, key),
        }
    }

    fn cursor(self: Arc<Self>) -> Box<dyn IndexCursor> {
        Box::new(Cursor::new(self))
    }
}
