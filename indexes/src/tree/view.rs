//! Committed roots, open for reading.

use std::sync::Arc;

use kodiak_core::Result;
use kodiak_core::index::{IndexCursor, IndexView, Root, Upsert};

use super::cursor::Cursor;
use super::pins::Pins;
use crate::store::Store;
use crate::store::space::RootInfo;

/// A committed root; its nodes stay as long as it does.
#[derive(Debug)]
pub(crate) struct View {
    pub store: Arc<Store>,
    pub upsert: Option<Arc<dyn Upsert>>,
    pub info: RootInfo,
    root: Root,
    pins: Pins,
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
            pins: Pins::new(&store.pool),
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
        let mut value = None;
        self.find(key, &mut |found| value = Some(found.to_vec()))?;
        Ok(value)
    }

    fn find(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<()> {
        match &self.info.top {
            None => Ok(()),
            Some(top) => {
                let from = (top, self.info.level);
                super::read::find(&self.store, self.upsert.as_deref(), &self.pins, from, key, found)
            }
        }
    }

    fn cursor(self: Arc<Self>) -> Box<dyn IndexCursor> {
        Box::new(Cursor::new(self))
    }
}
