//! Crash and fault testing of the whole engine over [`FaultStorage`](kodiak_storage::FaultStorage).
//!
//! [`script`] makes a seeded list of steps; [`model`] knows what every table holds after each prefix of them. [`points`]
//! carries a script out and takes images of what a power loss or a killed process would leave, at many mutating storage
//! operations; [`verify`] opens such an image and compares. [`faults`] makes storage operations fail instead, and [`order`]
//! watches the order of writes, syncs and removals. [`buggy`] is a storage that breaks its promises on purpose, by which
//! the harness shows that it would notice.
//!
//! Background threads make the order of operations differ from run to run: a failure names the seed, the configuration and
//! the operation, which find it again in a few runs rather than in one.

pub mod buggy;
pub mod faults;
pub mod model;
pub mod order;
pub mod points;
pub mod script;
pub mod verify;
