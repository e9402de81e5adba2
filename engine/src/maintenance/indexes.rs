//! Indexes of copies of a database: read as they were at the moment that is copied, and written as files of their own.
//!
//! An index file is changed all the time, so that a copy can neither share it nor copy its bytes. What can be held is a root of it;
//! its entries, in order, make a new file, whose only root is that of the copy's runs. What cannot be copied is left out, and built
//! by the first opening of the copy for writing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kodiak_core::batch::TableId;
use kodiak_core::filter::hash_key;
use kodiak_core::index::{IndexContext, IndexPool, IndexView, Upsert};
use kodiak_core::storage::Storage;
use kodiak_core::varint::{put_bytes, put_u64};
use kodiak_core::{ErrorKind, Result};

use super::files;
use crate::components::{Picked, primary_owner, secondary_owner};
use crate::db::{Shared, TableInner, View};
use crate::manifest::{IndexMeta, TableState};
use crate::secondary::SecondaryView;
use crate::{primary, secondary};

/// An index of a table's state.
pub(crate) struct IndexOf<'t> {
    /// The name of a secondary one.
    pub name: Option<&'t str>,
    /// What a secondary one is of, and whether it is exact.
    of: (&'t [u8], bool),
    /// Its file.
    pub meta: &'t mut IndexMeta,
}

impl IndexOf<'_> {
    /// The path of its file in the directory of its table.
    pub fn path(&self, dir: &Path) -> PathBuf {
        match self.name {
            None => primary::path(dir, self.meta.id),
            Some(_) => secondary::path(dir, self.meta.id),
        }
    }

    /// A name for its file beside those of other states of the database: two files of one name are of the same index of the
    /// same runs, of which one is as good as the other.
    pub fn stored_name(&self, table: TableId, runs: u64) -> String {
        let mut bytes = runs.to_le_bytes().to_vec();
        put_bytes(&mut bytes, self.meta.kind.as_bytes());
        put_bytes(&mut bytes, self.of.0);
        bytes.push(u8::from(self.of.1));
        let (id, hash) = (self.meta.id, hash_key(&bytes));
        let kind = if self.name.is_some() { "secondary." } else { "" };
        format!("{table:06}-{id:010}-{hash:016x}.{kind}{}", primary::EXTENSION)
    }
}

/// A number that tells the runs of a table from any others.
pub(crate) fn runs_hash(table: &TableState) -> u64 {
    let mut bytes = Vec::new();
    for placed in table.runs.values() {
        put_u64(&mut bytes, placed.run.id);
        put_u64(&mut bytes, u64::from(placed.run.sidecar_crc));
    }
    hash_key(&bytes)
}

/// Shows every index of a table that has a file; those for which `keep` says no have none from then on.
///
/// # Errors
/// Those of `keep`.
pub(crate) fn each_index(table: &mut TableState, keep: &mut dyn FnMut(IndexOf<'_>) -> Result<bool>) -> Result<()> {
    if let Some(meta) = &mut table.index {
        let (name, of) = (None, (&[][..], false));
        if !keep(IndexOf { name, of, meta })? {
            table.index = None;
        }
    }
    for (name, known) in &mut table.secondary {
        if let Some(index) = &mut known.index {
            let (name, of) = (Some(name.as_str()), (known.definition.as_slice(), index.exact));
            let meta = &mut index.file;
            if !keep(IndexOf { name, of, meta })? {
                known.index = None;
            }
        }
    }
    Ok(())
}

/// A root that is held until it has been copied.
struct HeldIndex {
    view: Arc<dyn IndexView>,
    picked: Picked<kodiak_core::index::IndexFactory>,
    pool: Arc<dyn IndexPool>,
    upsert: Arc<dyn Upsert>,
    /// What the copy is of: it has the identity and the numbers of the original.
    owner: Vec<u8>,
    /// Keeps the file of a secondary index.
    _keep: Option<Arc<SecondaryView>>,
}

/// The indexes of a table at one moment.
#[derive(Default)]
pub(crate) struct HeldIndexes {
    primary: Option<HeldIndex>,
    secondary: BTreeMap<String, HeldIndex>,
}

impl HeldIndexes {
    /// Holds the indexes that `known` names and `view` has.
    pub fn of(shared: &Shared, table: &TableInner, view: &View, known: &TableState) -> Self {
        let roles = table.roles.load();
        let pick = |meta: &IndexMeta, default: Option<&Picked<_>>| shared.pick_stored(meta, default).ok();
        let hold_primary = || {
            let (meta, indexed) = (known.index.as_ref()?, view.index.as_ref()?);
            let picked = pick(meta, roles.primary.as_ref())?;
            (indexed.tree().root().0 == meta.root).then(|| HeldIndex {
                view: Arc::clone(indexed.tree()),
                pool: shared.index_pools.of(picked.factory),
                picked,
                upsert: primary::operator(),
                owner: primary_owner((shared.identity, table.id), meta.id),
                _keep: None,
            })
        };
        let mut held = Self {
            primary: hold_primary(),
            ..Self::default()
        };
        for state in view.secondary.iter() {
            let named = known.secondary.get(&state.index.name);
            let Some(meta) = named.and_then(|named| named.index.as_ref()) else {
                continue;
            };
            let picked = pick(&meta.file, Some(&roles.secondary));
            if let Some(picked) = picked.filter(|_| state.tree().root().0 == meta.file.root) {
                let index = HeldIndex {
                    view: Arc::clone(state.tree()),
                    pool: shared.secondary_pools.of(picked.factory),
                    picked,
                    upsert: secondary::operator(),
                    owner: secondary_owner((shared.identity, table.id), meta.file.id),
                    _keep: Some(Arc::clone(state)),
                };
                held.secondary.insert(state.index.name.clone(), index);
            }
        }
        held
    }

    /// True if the index is held.
    pub fn has(&self, name: Option<&str>) -> bool {
        self.find(name).is_some()
    }

    fn find(&self, name: Option<&str>) -> Option<&HeldIndex> {
        match name {
            None => self.primary.as_ref(),
            Some(name) => self.secondary.get(name),
        }
    }

    /// Writes a copy of an index to a new file, synced, with its directory; returns its root. `None` if the index is not held or
    /// cannot be read; there is no file then.
    ///
    /// # Errors
    /// `Io`.
    pub fn write(&self, storage: &Arc<dyn Storage>, name: Option<&str>, path: &Path) -> Result<Option<u64>> {
        let Some(held) = self.find(name) else {
            return Ok(None);
        };
        match held.write(storage, path) {
            Ok(root) => Ok(Some(root)),
            Err(error) => {
                files::remove_if_there(&**storage, path)?;
                if error.kind() == ErrorKind::Io {
                    return Err(error);
                }
                tracing::warn!(%error, "an index is not copied: the copy's first opening for writing builds it");
                Ok(None)
            }
        }
    }
}

impl HeldIndex {
    fn write(&self, storage: &Arc<dyn Storage>, path: &Path) -> Result<u64> {
        let index = (self.picked.factory.create)(IndexContext {
            storage: Arc::clone(storage),
            path: path.to_owned(),
            pool: Arc::clone(&self.pool),
            options: self.picked.options.clone(),
            upsert: Some(Arc::clone(&self.upsert)),
            owner: self.owner.clone(),
        })?;
        let mut cursor = Arc::clone(&self.view).cursor();
        cursor.seek_first()?;
        let mut next = || {
            let (Some(key), Some(value)) = (cursor.key(), cursor.value()) else {
                return Ok(None);
            };
            let entry = (key.to_vec(), value.to_vec());
            cursor.next()?;
            Ok(Some(entry))
        };
        index.bulk_load(&mut std::iter::from_fn(|| next().transpose()))?;
        Ok(index.commit()?.0)
    }
}
