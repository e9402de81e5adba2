//! Changes that have come in ones and twos, until there are enough of them to be applied together: a node's buffer, or a
//! basement, is one piece, which to copy for a single change takes as long as for a thousand.

use std::collections::BTreeMap;
use std::sync::Arc;

use kodiak_core::Result;

use super::block::{Block, Tag};
use super::buffer::{Buffer, Said};
use super::builder::Builder;
use super::merge::{Rules, resolve};
use super::operands::Operands;
use super::ranges::Ranges;
use crate::pool::{Charge, Tally};

/// About what an entry takes beside its bytes.
const OVERHEAD: usize = 96;

/// What is kept of one key.
#[derive(Debug)]
enum Kept {
    Put(Vec<u8>),
    Delete,
    Upserts(Operands),
}

impl Kept {
    fn new(tag: Tag, value: Vec<u8>) -> Result<Self> {
        Ok(match tag {
            Tag::Put => Self::Put(value),
            Tag::Delete => Self::Delete,
            Tag::Upserts => Self::Upserts(Operands::of(value)?),
        })
    }

    fn entry(&self) -> (Tag, &[u8]) {
        match self {
            Self::Put(value) => (Tag::Put, value),
            Self::Delete => (Tag::Delete, &[]),
            Self::Upserts(operands) => (Tag::Upserts, operands.as_slice()),
        }
    }

    fn memory(&self) -> usize {
        match self {
            Self::Put(value) => value.capacity(),
            Self::Delete => 0,
            Self::Upserts(operands) => operands.memory(),
        }
    }
}

/// Changes of single keys, newer than the tree.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    entries: BTreeMap<Vec<u8>, Kept>,
    memory: usize,
    charge: Option<Charge>,
}

impl Staged {
    /// Bytes of memory.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    /// The most by which newer changes can make it grow: what it has of a key may have to be copied to twice the room.
    pub(crate) fn most_added(&self, newer: &Block) -> usize {
        self.memory + 2 * newer.body_len() + OVERHEAD * newer.len()
    }

    /// Adds newer changes.
    ///
    /// # Errors
    /// Those of an upsert operator.
    pub(crate) fn add(&mut self, rules: &Rules<'_>, tally: &Arc<Tally>, newer: &Block) -> Result<()> {
        let mut key = Vec::new();
        for index in 0..newer.len() {
            newer.key_into(index, &mut key);
            let change = newer.entry(index);
            let mut below = self.entries.get_mut(&key);
            if let (Tag::Upserts, Some(kept)) = (change.tag, &mut below)
                && let Kept::Upserts(operands) = kept
            {
                let before = operands.memory();
                operands.add(rules.upsert, &key, change.value)?;
                self.memory = self.memory + operands.memory() - before;
                continue;
            }
            // What lies in the tree is not looked at: a delete has to stay one.
            let older = below.as_deref().map(Kept::entry);
            let Some((tag, value)) = resolve(rules, &key, older, (change.tag, change.value), false)? else {
                continue;
            };
            let new = Kept::new(tag, value.into_owned())?;
            match below {
                Some(kept) => {
                    self.memory = self.memory + new.memory() - kept.memory();
                    *kept = new;
                }
                None => {
                    self.memory += key.len() + new.memory() + OVERHEAD;
                    self.entries.insert(std::mem::take(&mut key), new);
                }
            }
        }
        match &mut self.charge {
            Some(charge) => charge.set(self.memory),
            None => self.charge = Some(Charge::new(tally, self.memory)),
        }
        Ok(())
    }

    pub(crate) fn get(&self, key: &[u8]) -> Said<'_> {
        match self.entries.get(key) {
            None => Said::Nothing,
            Some(Kept::Put(value)) => Said::Put(value),
            Some(Kept::Delete) => Said::Deleted,
            Some(Kept::Upserts(operands)) => Said::Upserts(operands.as_slice()),
        }
    }

    /// Everything, to be applied; nothing is left.
    pub(crate) fn take(&mut self) -> Option<Buffer> {
        let Self { entries, memory, .. } = std::mem::take(self);
        if entries.is_empty() {
            return None;
        }
        let mut points = Builder::new(b"", memory);
        for (key, kept) in &entries {
            let (tag, value) = kept.entry();
            points.push(tag, key, value);
        }
        Some(Buffer {
            ranges: Ranges::default(),
            points: points.finish(),
        })
    }
}
