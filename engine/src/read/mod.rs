//! Reading: point look-ups, merged cursors, scans.

mod bounds;
mod debt;
mod lookup;
mod merged;
mod scan;
mod tournament;
mod value;

pub use bounds::ScanBounds;
pub(crate) use debt::{Account, ReadDebt};
pub(crate) use lookup::{Lookup, Progress};
pub(crate) use merged::{MergedCursor, Source, Start};
pub use scan::Scan;
pub(crate) use scan::ScanContext;
pub(crate) use value::resolve_merge;
