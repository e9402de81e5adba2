//! The components of a database: every family's registry, and what the settings pick from it.

/// The kinds that hold where the settings name none.
pub(crate) struct DefaultKinds {
    pub memtable: &'static str,
    pub format: &'static str,
    pub filter: &'static str,
    pub compaction: &'static str,
    pub wal: &'static str,
}

/// The policy of the preset `write-heavy`.
pub(crate) const TIERED: &str = "size-tiered";

/// The first of each family, which is its default.
pub(crate) fn default_kinds() -> DefaultKinds {
    DefaultKinds {
        memtable: "skiplist",
        format: "feather",
        filter: "bloom",
        compaction: "leveled",
        wal: "segment",
    }
}
