//! The components of a database: every family's registry, and what the settings pick from it.
//!
//! This is the only place in the engine that names the crates of implementations. A program may register components of its
//! own before it opens a database; they are then found by name in the settings like any other.

mod describe;
mod owner;
mod resolve;
mod roles;
mod stored;

use std::sync::Arc;

use kodiak_core::compaction::{CompactionPolicy, PolicyContext, PolicyFactory};
use kodiak_core::filter::FilterFactory;
use kodiak_core::format::{BlockFormat, Compression, FormatFactory, WriteOptions};
use kodiak_core::index::IndexFactory;
use kodiak_core::memtable::MemtableFactory;
use kodiak_core::options::{OptionSpec, Options};
use kodiak_core::registry::Registry;
use kodiak_core::schema::TableSchema;
use kodiak_core::wal::WalFactory;
use kodiak_core::{Error, Result};

pub use describe::{Described, DescribedOption};
pub use kodiak_formats::{export, outside};
pub(crate) use owner::{catalogue_owner, primary_owner, secondary_owner};
pub(crate) use roles::{IndexPools, Roles, Room};
pub(crate) use stored::{stored_index, stored_indexes, stored_view};

use crate::settings::{Explained, FENCE, Settings};

/// The registries of all families.
#[derive(Debug, Clone)]
pub struct Components {
    memtables: Registry<MemtableFactory>,
    formats: Registry<FormatFactory>,
    wals: Registry<WalFactory>,
    filters: Registry<FilterFactory>,
    indexes: Registry<IndexFactory>,
    policies: Registry<PolicyFactory>,
}

impl Default for Components {
    fn default() -> Self {
        Self::new()
    }
}

impl Components {
    /// The components that come with Kodiak.
    pub fn new() -> Self {
        Self {
            memtables: Registry::new(kodiak_memtables::ALL),
            formats: Registry::new(kodiak_formats::ALL),
            wals: Registry::new(kodiak_wal::ALL),
            filters: Registry::new(kodiak_filters::ALL),
            indexes: Registry::new(kodiak_indexes::ALL),
            policies: Registry::new(kodiak_compaction::ALL),
        }
    }

    /// Adds a memtable.
    ///
    /// # Errors
    /// `InvalidInput` if the name is taken.
    pub fn register_memtable(&mut self, factory: &'static MemtableFactory) -> Result<()> {
        self.memtables.register(factory)
    }

    /// Adds a block format.
    ///
    /// # Errors
    /// `InvalidInput` if the name is taken.
    pub fn register_format(&mut self, factory: &'static FormatFactory) -> Result<()> {
        self.formats.register(factory)
    }

    /// Adds a write-ahead log.
    ///
    /// # Errors
    /// `InvalidInput` if the name is taken.
    pub fn register_wal(&mut self, factory: &'static WalFactory) -> Result<()> {
        self.wals.register(factory)
    }

    /// Adds a filter.
    ///
    /// # Errors
    /// `InvalidInput` if the name is taken.
    pub fn register_filter(&mut self, factory: &'static FilterFactory) -> Result<()> {
        self.filters.register(factory)
    }

    /// Adds an index.
    ///
    /// # Errors
    /// `InvalidInput` if the name is taken, or is that of having none.
    pub fn register_index(&mut self, factory: &'static IndexFactory) -> Result<()> {
        if factory.component.name == FENCE {
            return Err(Error::invalid_input(format!(
                "\"{FENCE}\" names the absence of an index"
            )));
        }
        self.indexes.register(factory)
    }

    /// Adds a compaction policy.
    ///
    /// # Errors
    /// `InvalidInput` if the name is taken.
    pub fn register_policy(&mut self, factory: &'static PolicyFactory) -> Result<()> {
        self.policies.register(factory)
    }

    /// The memtables, in order.
    pub fn memtables(&self) -> &Registry<MemtableFactory> {
        &self.memtables
    }

    /// The block formats, in order. A run names the format that it was written in.
    pub fn formats(&self) -> &Registry<FormatFactory> {
        &self.formats
    }

    /// The write-ahead logs, in order.
    pub fn wals(&self) -> &Registry<WalFactory> {
        &self.wals
    }

    /// The filters, in order. A run names the filter that it was written with.
    pub fn filters(&self) -> &Registry<FilterFactory> {
        &self.filters
    }

    /// The indexes, in order.
    pub fn indexes(&self) -> &Registry<IndexFactory> {
        &self.indexes
    }

    /// The compaction policies, in order.
    pub fn policies(&self) -> &Registry<PolicyFactory> {
        &self.policies
    }

    /// Finds what the settings name and checks that it works together. Nothing on disk is touched.
    ///
    /// # Errors
    /// `InvalidSettings` naming the setting, or both of them where two contradict each other, and the valid choices; and the file and
    /// the line that say so, if the settings were read from a file.
    pub fn resolve(&self, settings: &Settings) -> Result<Resolved> {
        resolve::resolve(self, settings).map_err(|error| settings.located(error))
    }

    /// As [`Settings::explain`], with those options of components that nobody gave.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn explain(&self, settings: &Settings) -> Result<Vec<Explained>> {
        describe::explain(&self.resolve(settings)?)
    }

    /// Every component with its capabilities and options, family by family.
    pub fn describe(&self) -> Vec<Described> {
        describe::describe(self)
    }

    /// [`describe`](Self::describe) as the Markdown page `docs/components.md`.
    pub fn markdown(&self) -> String {
        describe::markdown(&self.describe())
    }
}

/// A component picked by the settings, with its options complete.
#[derive(Debug)]
pub struct Picked<F: 'static> {
    /// The factory.
    pub factory: &'static F,
    /// Its options: those given over its defaults.
    pub options: Options,
}

impl<F> Clone for Picked<F> {
    fn clone(&self) -> Self {
        Self {
            factory: self.factory,
            options: self.options.clone(),
        }
    }
}

/// How runs of one level are written.
#[derive(Debug, Clone)]
pub struct LevelFormat {
    /// The factory of the format.
    pub factory: &'static FormatFactory,
    /// The format, made once for all levels that use it.
    pub format: Arc<dyn BlockFormat>,
    /// Compression and options.
    pub write: WriteOptions,
    /// What the settings say of the size of blocks.
    block_size: Option<usize>,
}

impl LevelFormat {
    /// Bytes of entries in a block, before compression, of a table with this schema. Unless the settings say something: of key-value
    /// tables as many as make reads of single keys fast; of typed tables more, as batches of rows are read, and a row by its key
    /// from uncompressed Feather is found as fast (`docs/performance.md`).
    pub fn block_size(&self, schema: &TableSchema) -> usize {
        let usual = if schema.is_key_value() { 32 << 10 } else { 128 << 10 };
        self.block_size.unwrap_or(usual)
    }

    /// The compression of blocks.
    pub fn compression(&self) -> Compression {
        self.write.compression
    }
}

/// Settings that have been checked, and the components that they pick.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The settings.
    pub settings: Settings,
    /// The memtable.
    pub memtable: Picked<MemtableFactory>,
    /// The write-ahead log.
    pub wal: Picked<WalFactory>,
    /// The filter.
    pub filter: Picked<FilterFactory>,
    /// The primary index of tables that do not choose one; `None` for fences.
    pub index: Option<Picked<IndexFactory>>,
    /// What holds the runs of all tables; `None` for the manifest.
    pub catalogue: Option<&'static IndexFactory>,
    /// What holds the entries of secondary indexes, in tables that do not choose it.
    pub secondary: Picked<IndexFactory>,
    /// The compaction policy.
    pub policy: Picked<PolicyFactory>,
    levels: Vec<LevelFormat>,
    components: Components,
}

impl Resolved {
    /// How runs of `level` are written; below the last level as on the last.
    pub fn format_at(&self, level: usize) -> &LevelFormat {
        // There are at least two levels: the range of the setting says so.
        &self.levels[level.min(self.levels.len() - 1)]
    }

    /// Every registry, to find what existing runs were written with.
    pub fn components(&self) -> &Components {
        &self.components
    }

    /// What a policy is told about the database; `ttl_micros` is the table's.
    pub fn policy_context(&self, ttl_micros: u64) -> PolicyContext {
        resolve::policy_context(&self.settings, ttl_micros)
    }

    /// Makes the compaction policy of a table.
    ///
    /// # Errors
    /// As the policy's `create`.
    pub fn create_policy(&self, ttl_micros: u64) -> Result<Box<dyn CompactionPolicy>> {
        (self.policy.factory.create)(&self.policy.options, self.policy_context(ttl_micros))
    }
}

/// The kinds that hold where the settings name none.
pub(crate) struct DefaultKinds {
    pub memtable: &'static str,
    pub format: &'static str,
    pub filter: &'static str,
    pub compaction: &'static str,
    pub wal: &'static str,
    pub secondary: &'static str,
}

/// What holds secondary indexes: their entries come in batches and in no order that the tree likes.
const SECONDARY: &str = "fractal";

/// The policy of the preset `write-heavy`.
pub(crate) const TIERED: &str = "tiered";

/// The first of each family, which is its default.
pub(crate) fn default_kinds() -> DefaultKinds {
    DefaultKinds {
        memtable: kodiak_memtables::ALL[0].component.name,
        format: kodiak_formats::ALL[0].component.name,
        filter: kodiak_filters::ALL[0].component.name,
        compaction: kodiak_compaction::ALL[0].component.name,
        wal: kodiak_wal::ALL[0].component.name,
        secondary: SECONDARY,
    }
}

/// The options of a component that a settings file may name.
fn option_names(specs: &[OptionSpec]) -> String {
    let names: Vec<_> = specs.iter().map(|spec| spec.name).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests;
