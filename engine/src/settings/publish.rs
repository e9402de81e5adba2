//! The section `publish`.

/// Publishing tables for other programs' readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishSettings {
    /// Each typed table is published in the background, after every flush and compaction that changes it.
    pub continuous: bool,
    /// So is each key-value table.
    pub key_value: bool,
    /// How many publications before the last one keep their files then.
    pub kept: usize,
    /// Whether publications are Delta tables, too.
    pub delta: DeltaTables,
}

/// Whether publications are Delta tables, where their formats and types allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeltaTables {
    /// Always: files in which columns have other names or types, or lack a default, are rewritten first.
    Always,
    /// As long as no file must be rewritten for it.
    Auto,
    /// Never.
    Never,
}
