//! What indexes do for a table: as the settings say, or as the table has chosen.

use std::any::{Any, TypeId};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kodiak_core::index::{IndexFactory, IndexPool};
use kodiak_core::options::Options;
use kodiak_core::{Error, Result};
use parking_lot::Mutex;

use super::resolve::check_pool;
use super::{Picked, Resolved};
use crate::db::IndexOptions;
use crate::settings::{FENCE, Maintenance, Settings};

/// The roles of indexes in a table.
#[derive(Debug, Clone)]
pub(crate) struct Roles {
    /// What the table has chosen for itself.
    pub own: IndexOptions,
    /// The primary index; `None` for fences.
    pub primary: Option<Picked<IndexFactory>>,
    /// There are deletion vectors.
    pub vectors: bool,
    /// What holds the entries of secondary indexes.
    pub secondary: Picked<IndexFactory>,
    /// Rows that are replaced are looked up at once for secondary indexes.
    pub eager: bool,
}

impl Resolved {
    /// The roles of indexes in the table `name`, which has chosen `own`.
    ///
    /// # Errors
    /// `InvalidSettings` for an index that there is not, or that does not fit its pool.
    pub(crate) fn roles(&self, name: &str, own: &IndexOptions) -> Result<Roles> {
        let settings = &self.settings;
        let of_table = |error: Error| {
            let setting = error.setting().unwrap_or("index.primary").to_owned();
            Error::settings(
                setting,
                format!("table \"{}\": {}", name.escape_debug(), error.message()),
            )
        };
        own.check().map_err(of_table)?;
        let primary = match own.primary.as_deref() {
            None => self.index.clone(),
            Some(FENCE) => None,
            Some(kind) => Some(
                self.index_of(kind, self.index.as_ref(), "index.primary", settings.index.pool)
                    .map_err(of_table)?,
            ),
        };
        let secondary = match own.secondary.as_deref() {
            None => self.secondary.clone(),
            Some(kind) => self
                .index_of(kind, Some(&self.secondary), "secondary.kind", settings.secondary.pool)
                .map_err(of_table)?,
        };
        let vectors = own.deletion_vectors.unwrap_or(settings.index.deletion_vectors);
        let maintenance = own.maintenance.unwrap_or(settings.secondary.maintenance);
        Ok(Roles {
            own: own.clone(),
            vectors: vectors && primary.is_some(),
            primary,
            secondary,
            eager: maintenance == Maintenance::Eager,
        })
    }

    /// An index of that name: with the options of `default`, if that is it, and its own defaults otherwise.
    fn index_of(
        &self,
        kind: &str,
        default: Option<&Picked<IndexFactory>>,
        setting: &'static str,
        pool: u64,
    ) -> Result<Picked<IndexFactory>> {
        let indexes = &self.components.indexes;
        let factory = indexes.find(kind).map_err(|error| error.with_setting(setting))?;
        let picked = match default.filter(|default| std::ptr::eq(default.factory, factory)) {
            Some(default) => default.clone(),
            None => Picked {
                factory,
                options: Options::defaults(factory.component.options),
            },
        };
        let (section, key) = setting.split_once('.').unwrap_or((setting, ""));
        check_pool(&picked, section, key, pool)?;
        Ok(picked)
    }
}

/// The memory of the indexes of one role, taken when there is one. Indexes whose pools are of the same type share one; others have
/// each one of that size.
#[derive(Debug)]
pub(crate) struct IndexPools {
    bytes: usize,
    pools: Mutex<Vec<(TypeId, Arc<dyn IndexPool>)>>,
    /// Bytes that indexes have taken beside the pools.
    beside: Arc<AtomicUsize>,
}

/// What an index may take beside the pools, all of them together, is this part of a pool.
const BESIDE: usize = 8;

impl IndexPools {
    /// For primary indexes.
    pub fn primary(settings: &Settings) -> Self {
        Self::new(settings.index.pool)
    }

    /// For secondary indexes.
    pub fn secondary(settings: &Settings) -> Self {
        Self::new(settings.secondary.pool)
    }

    fn new(bytes: u64) -> Self {
        Self {
            bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            pools: Mutex::default(),
            beside: Arc::default(),
        }
    }

    /// Room for what an index keeps in memory beside its nodes.
    pub fn beside(&self) -> Room {
        Room {
            taken: Arc::clone(&self.beside),
            most: self.bytes / BESIDE,
            bytes: 0,
        }
    }

    /// The pool for an index.
    pub fn of(&self, factory: &IndexFactory) -> Arc<dyn IndexPool> {
        let made = (factory.pool)(self.bytes);
        let any: &dyn Any = &*made;
        let kind = any.type_id();
        let mut pools = self.pools.lock();
        match pools.iter().find(|(known, _)| *known == kind) {
            Some((_, pool)) => Arc::clone(pool),
            None => {
                pools.push((kind, Arc::clone(&made)));
                made
            }
        }
    }

    /// Bytes that are in memory.
    pub fn used(&self) -> u64 {
        let beside = self.beside.load(Ordering::Relaxed) as u64;
        beside
            + self
                .pools
                .lock()
                .iter()
                .map(|(_, pool)| pool.used() as u64)
                .sum::<u64>()
    }
}

/// Memory that an index has taken beside the pools; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    taken: Arc<AtomicUsize>,
    most: usize,
    bytes: usize,
}

impl Room {
    /// It is so much from now on. False if there is not so much room: then it stays as it was.
    pub fn resize(&mut self, bytes: usize) -> bool {
        let others = self.taken.fetch_sub(self.bytes, Ordering::Relaxed) - self.bytes;
        let fits = bytes <= self.bytes || others.saturating_add(bytes) <= self.most;
        if fits {
            self.bytes = bytes;
        }
        self.taken.fetch_add(self.bytes, Ordering::Relaxed);
        fits
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
