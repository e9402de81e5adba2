//! Looking after databases: checkpoints, backups, verification, repair, and ingestion of sorted data.
//!
//! What works on an open database is a method of [`Db`](crate::Db) or [`Table`](crate::Table); what works on a directory, a
//! method of [`Builder`](crate::Builder), which knows the storage and the components.

mod backup;
mod capture;
mod check;
mod checkpoint;
mod fetch;
mod files;
mod indexes;
mod ingest;
mod passed_over;
mod places;
mod repair;
mod sealed;
mod table_file;
mod totals;
mod verify;

pub use backup::{BackupDir, BackupId, BackupInfo, backups};
pub use ingest::Ingested;
pub use repair::{LOST_DIR, RepairReport, repair};
pub(crate) use table_file::{TABLE_FILE, TableFile};
pub use verify::{VerifyReport, verify};

pub(crate) use check::{DataFile, TableFiles};
pub(crate) use files::{link_or_copy, list as list_files, read_small, remove_if_there, replace as replace_file};
