//! The primary index of a table: where in the runs the newest version of each key is.
//!
//! An index (`indexes/`) maps user keys to [locators](locator::Locator), so that a get asks it once, however many runs there
//! are. It holds nothing that the runs do not: it is built from them ([`open`]), and given up if it fails.
//!
//! **It belongs to a version.** Each root is of one set of runs. A flush, ingestion or compaction brings the index up to
//! date ([`update`]), commits it, and names the new root in the manifest edit that names the runs; view and version are
//! put in force together. The root before is given up only after that edit is durable, so whichever edit a crash leaves, its
//! root is there. An edit that changes runs and names no root leaves the table without index.
//!
//! **What it holds**: of each key, the locator of its newest version in the runs, or none if there is no version, or if the
//! newest was dropped by a compaction because something hides it (then that hides all older ones from the same readers). So
//! "none" is an answer only for readers that see everything in the runs; older snapshots go through the runs instead, as they
//! do when the located version is too new for them, or is an operand. Keys longer than an index takes are never in it.
//!
//! **A locator is relied on.** It comes from a page with a checksum, at the root that the manifest names for these very runs, and
//! runs never change; so a get does not compare the key where that would take reading what the value does not need. Builds with
//! debug assertions do, and `verify` compares everything.

mod check;
mod choose;
pub(crate) mod locator;
pub(crate) mod newest;
mod numbered;
mod open;
mod reading;
mod update;
mod view;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kodiak_core::batch::TableId;
use kodiak_core::compaction::RunId;
use kodiak_core::index::{Index, IndexStats, Root, Upsert};
use parking_lot::{Mutex, MutexGuard};

pub(crate) use check::{verify_index, verify_open_index};
#[cfg(test)]
pub(crate) use numbered::Numbered;
pub(crate) use open::put_in_force;
pub(crate) use update::{IndexUpdate, LeftOut, RunChange};
pub(crate) use view::IndexedRuns;

use crate::manifest::{Change, IndexMeta};

/// The ending of index files.
pub(crate) const EXTENSION: &str = "index";

/// The name of an index file.
pub(crate) fn file_name(id: RunId) -> String {
    format!("{id:010}.{EXTENSION}")
}

/// The path of an index file in the directory of its table.
pub(crate) fn path(dir: &Path, id: RunId) -> PathBuf {
    dir.join(file_name(id))
}

/// What index files of primary indexes are made with.
pub(crate) fn operator() -> Arc<dyn Upsert> {
    Arc::new(locator::NewestWins)
}

/// The place of a table's index. Whoever changes the table's runs holds it until index and runs are in force together.
#[derive(Debug, Default)]
pub(crate) struct IndexSlot {
    index: Mutex<Option<PrimaryIndex>>,
    /// Its kind and numbers, as last seen: a job may hold it for long.
    stats: Mutex<Option<(String, IndexStats)>>,
}

impl IndexSlot {
    pub fn lock(&self) -> MutexGuard<'_, Option<PrimaryIndex>> {
        self.index.lock()
    }

    /// The kind of index, and numbers about it; those of before, while it is being brought up to date.
    pub fn stats(&self) -> Option<(String, IndexStats)> {
        if let Some(held) = self.index.try_lock() {
            self.note(held.as_ref());
        }
        self.stats.lock().clone()
    }

    /// Another index, `held`, is in force.
    fn note(&self, held: Option<&PrimaryIndex>) {
        let stats = held.map(|primary| (primary.meta.kind.clone(), primary.index.stats()));
        *self.stats.lock() = stats;
    }
}

/// A table's index, open for maintenance.
#[derive(Debug)]
pub(crate) struct PrimaryIndex {
    index: Box<dyn Index>,
    /// Its file, and the root that the manifest names.
    meta: IndexMeta,
    /// It tells at once what an update displaces.
    eager: bool,
}

impl PrimaryIndex {
    /// The change that makes the manifest name it.
    pub fn record(&self, table: TableId) -> Change {
        Change::SetIndex {
            table,
            index: Some(self.meta.clone()),
        }
    }

    fn root(&self) -> Root {
        Root(self.meta.root)
    }

    /// The manifest names this root from now on: others are given up.
    fn moved_to(&mut self, root: Root) {
        self.meta.root = root.0;
        for other in self.index.roots() {
            if other != root
                && let Err(error) = self.index.release(other)
            {
                // Its pages stay in use until the next opening.
                tracing::warn!(%error, "a root of a primary index could not be released");
            }
        }
    }
}
