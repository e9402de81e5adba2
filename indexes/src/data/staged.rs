//! Changes that have come in ones and twos, until there are enough of them to be applied together: a node's buffer, or a
//! basement, is one piece, which to copy for a single change takes as long as for a thousand.

use std::collections::BTreeMap;
use std::sync::Arc;

use kodiak_core::Result;

use super::block::{Block, Tag};
use super::buffer::{Buffer, Said};
use super::builder::Builder;
use super::merge::{Rules, resolve};
use super::ranges::Ranges;
use crate::pool::{BufferPool, Charge};

/// About what an entry takes beside its bytes.
const OVERHEAD: usize = 96;

/// Changes of single keys, newer than the tree.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    entries: BTreeMap<Vec<u8>, (Tag, Vec<u8>)>,
    memory: usize,
    charge: Option<Charge>,
}

impl Staged {
    /// Bytes of memory.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    /// Adds newer changes.
    ///
    /// # Errors
    /// Those of an upsert operator.
    pub(crate) fn add(&mut self, rules: &Rules<'_>, pool: &Arc<BufferPool>, newer: &Block) -> Result<()> {
        let mut key = Vec::new();
        for index in 0..newer.len() {
            newer.key_into(index, &mut key);
            let change = newer.entry(index);
            let below = self.entries.get(&key).map(|(tag, value)| (*tag, value.as_slice()));
            // What lies in the tree is not looked at: a delete has to stay one.
            let Some((tag, value)) = resolve(rules, &key, below, (change.tag, change.value), false)? else {
                continue;
            };
            let value = value.into_owned();
            match self.entries.get_mut(&key) {
                Some(entry) => {
                    self.memory = self.memory + value.len() - entry.1.len();
                    *entry = (tag, value);
                }
                None => {
                    self.memory += key.len() + value.len() + OVERHEAD;
                    self.entries.insert(std::mem::take(&mut key), (tag, value));
                }
            }
        }
        match &mut self.charge {
            Some(charge) => charge.set(self.memory),
            None => self.charge = Some(Charge::new(pool, self.memory)),
        }
        Ok(())
    }

    pub(crate) fn get(&self, key: &[u8]) -> Said<'_> {
        match self.entries.get(key) {
            None => Said::Nothing,
            Some((Tag::Put, value)) => Said::Put(value),
            Some((Tag::Delete, _)) => Said::Deleted,
            Some((Tag::Upserts, operands)) => Said::Upserts(operands),
        }
    }

    /// Everything, to be applied; nothing is left.
    pub(crate) fn take(&mut self) -> Option<Buffer> {
        let Self { entries, memory, .. } = std::mem::take(self);
        if entries.is_empty() {
            return None;
        }
        let mut points = Builder::new(b"", memory);
        for (key, (tag, value)) in &entries {
            points.push(*tag, key, value);
        }
        Some(Buffer {
            ranges: Ranges::default(),
            points: points.finish(),
        })
    }
}
