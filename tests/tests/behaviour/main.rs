//! What users are promised about clocks, locks, limits, names and modes of files; and bugs that must not come back.

mod catalogue;
mod clock;
mod interface;
mod limits;
mod locking;
mod mends;
mod names;
mod operators;
mod reads;
mod regressions;
mod room;
mod statistics;
