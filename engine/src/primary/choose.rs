//! Tables that choose their indexes while they are in use.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kodiak_core::{Error, ErrorKind, Result};

use super::view::IndexedRuns;
use super::{PrimaryIndex, path};
use crate::components::Roles;
use crate::db::{IndexOptions, Shared, Table, TableInner, View, closing};
use crate::deletion::{DeletionVectors, from_runs};
use crate::maintenance::TableFile;
use crate::manifest::{Change, Marks, VersionEdit};
use crate::version::Version;

/// So often an index is built while flushes and compactions go on; if they have changed the runs each time, they wait for the next.
const ATTEMPTS: usize = 2;

impl Table {
    /// Chooses how the table's indexes are made and kept from now on, and returns when they are so: a primary index or deletion
    /// vectors that the table has not are built of its runs, those that it is not to have any more are dropped, and secondary
    /// indexes are built anew in files of another kind, or to be exact. Others read and write the table meanwhile; its flushes and
    /// compactions wait while secondary indexes are built, and for a primary index only if they kept changing the runs under it.
    ///
    /// What is chosen is part of the table's options, and stays so.
    ///
    /// # Errors
    /// `InvalidSettings` for an index that there is not, that does not fit its pool, or for deletion vectors without one;
    /// `Unsupported` for deletion vectors of runs that are too long: nothing is changed then. `NotFound` if the table was dropped;
    /// `Unavailable` in a database that is closed or open for reading only; those of reading and writing files, after which
    /// the next opening makes the indexes as they were chosen.
    pub fn set_indexes(&self, indexes: IndexOptions) -> Result<()> {
        let (shared, table) = (&self.open.shared, &self.inner);
        shared.check_writable()?;
        let roles = Arc::new(shared.resolved.roles(&table.name, &indexes)?);
        let _defining = table.secondary.define();
        shared.choose_primary(table, &roles)?;
        shared.renew_secondaries(table, &roles)
    }
}

/// What a table lacks of what it has chosen.
#[derive(Debug, Clone, Copy)]
struct Lack {
    index: bool,
    vectors: bool,
}

impl Lack {
    fn of(table: &TableInner, held: Option<&PrimaryIndex>, version: &Version, roles: &Roles) -> Self {
        let wanted = roles.primary.as_ref().map(|picked| picked.factory.component.name);
        // An index of which gets know nothing any more would be brought up to date in vain.
        let in_force = held.filter(|_| table.view.load().index.is_some());
        Self {
            index: wanted.is_some() && in_force.map(|held| held.meta.kind.as_str()) != wanted,
            vectors: roles.vectors && version.dead.is_none(),
        }
    }

    fn is_nothing(self) -> bool {
        !self.index && !self.vectors
    }
}

/// What was made of the runs of a version.
struct Made {
    version: Arc<Version>,
    index: Option<(PrimaryIndex, Arc<IndexedRuns>)>,
    vectors: Option<Arc<DeletionVectors>>,
}

impl Made {
    /// True if it is what is lacking of these runs.
    fn serves(&self, version: &Version, lack: Lack) -> Result<bool> {
        let ids = |version: &Version| -> Result<Vec<_>> {
            let mut ids: Vec<_> = version.runs()?.map(|(_, run)| run.id()).collect();
            ids.sort_unstable();
            Ok(ids)
        };
        Ok(self.index.is_some() >= lack.index
            && self.vectors.is_some() >= lack.vectors
            && ids(&self.version)? == ids(version)?)
    }
}

impl Shared {
    /// Puts the primary index and the deletion vectors of `roles` in force, and makes the manifest tell of all of these.
    fn choose_primary(&self, table: &TableInner, roles: &Arc<Roles>) -> Result<()> {
        let mut made: Option<Made> = None;
        for attempt in 0.. {
            // Nobody changes the runs while this is held.
            let mut held = table.primary.lock();
            let version = Arc::clone(&table.view.load().version);
            let lack = Lack::of(table, held.as_ref(), &version, roles);
            let serves = made.as_ref().map_or(Ok(false), |made| made.serves(&version, lack))?;
            if lack.is_nothing() || serves {
                let unneeded = made.take_if(|_| lack.is_nothing());
                self.discard(table, unneeded);
                return self.put_choice(table, &mut held, roles, made);
            }
            self.discard(table, made.take());
            self.check_open()?;
            if attempt < ATTEMPTS {
                drop(held);
                made = Some(self.make_lacking(table, roles, version, lack)?);
            } else {
                let made = self.make_lacking(table, roles, version, lack)?;
                return self.put_choice(table, &mut held, roles, Some(made));
            }
        }
        Ok(())
    }

    fn make_lacking(&self, table: &TableInner, roles: &Roles, version: Arc<Version>, lack: Lack) -> Result<Made> {
        let vectors = lack.vectors.then(|| from_runs(&version)).transpose()?;
        let picked = roles.primary.as_ref().filter(|_| lack.index);
        let index = self.make_index(table, picked, &version, None)?;
        let index = match index {
            Some(mut primary) => {
                let root = primary.root();
                primary.moved_to(root);
                let indexed = IndexedRuns::new(&version, None, primary.index.view(root)?);
                Some((primary, Arc::new(indexed)))
            }
            None => None,
        };
        Ok(Made {
            version,
            index,
            vectors: vectors.map(Arc::new),
        })
    }

    /// Gives up what was made of runs that are others by now.
    fn discard(&self, table: &TableInner, made: Option<Made>) {
        if let Some((primary, _)) = made.and_then(|made| made.index) {
            self.remove_index(table, primary);
        }
    }

    fn remove_index(&self, table: &TableInner, primary: PrimaryIndex) {
        let file = path(&table.runs.dir, primary.meta.id);
        drop(primary);
        if let Err(error) = self.storage.remove(&file)
            && error.kind() != ErrorKind::NotFound
        {
            // The next opening removes it.
            tracing::warn!(%error, "an index file that is not needed any more could not be removed");
        }
    }

    /// Makes the manifest tell of a choice, and puts what was made for it in force.
    fn put_choice(
        &self,
        table: &TableInner,
        held: &mut Option<PrimaryIndex>,
        roles: &Arc<Roles>,
        made: Option<Made>,
    ) -> Result<()> {
        let (index, vectors) = made.map_or((None, None), |made| (made.index, made.vectors));
        let options = table.options.clone().indexes(roles.own.clone()).to_bytes();
        let id = table.id;
        let mut edit = VersionEdit::new().with(Change::TableOptions { table: id, options });
        let unindexed = roles.primary.is_none();
        if let Some((primary, _)) = &index {
            edit.push(primary.record(id));
        } else if unindexed {
            edit.push(Change::SetIndex { table: id, index: None });
        }
        let marks = vectors.as_ref().map(|vectors| Marks {
            anew: true,
            runs: vectors.in_order(),
        });
        if marks.is_some() || !roles.vectors {
            edit.push(Change::MarkDead { table: id, dead: marks });
        }
        {
            let mut manifest = self.manifest.lock();
            let manifest = manifest.as_mut().ok_or_else(closing)?;
            if table.dropped.load(Ordering::Acquire) {
                let message = format!("table \"{}\" was dropped", table.name);
                return Err(Error::new(ErrorKind::NotFound, message));
            }
            manifest.recover()?;
            manifest.append(&edit)?;
            if let Some(state) = manifest.state().tables.get(&id) {
                // What is not told there is told by the next opening.
                let file = TableFile::of(self.identity, id, state);
                if let Err(error) = file.write(&*self.storage, &table.runs.dir) {
                    tracing::warn!(%error, table = table.name, "the table's file does not tell of its options");
                }
            }
        }
        table.roles.store(Arc::clone(roles));
        let gone = match index.is_some() || unindexed {
            true => held.take(),
            false => None,
        };
        {
            let _edit = table.edit.lock();
            let view = View::clone(&table.view.load());
            let mut version = Version::clone(&view.version);
            version.dead = match roles.vectors {
                true => vectors.or(version.dead),
                false => None,
            };
            let indexed = index.as_ref().map(|(_, indexed)| Arc::clone(indexed));
            table.view.store(Arc::new(View {
                version: Arc::new(version),
                index: indexed.or(view.index.filter(|_| !unindexed)),
                ..view
            }));
        }
        if let Some((primary, _)) = index {
            *held = Some(primary);
        }
        table.primary.note(held.as_ref());
        if let Some(gone) = gone {
            self.remove_index(table, gone);
        }
        Ok(())
    }
}
