//! Tests over the whole house: configurations, crashes, architecture, interoperability.
//!
//! The harness of the metamorphic tests lives here: [`generate`] makes histories of operations, [`runner`] carries one out
//! on a database and compares every answer with [`model`], [`minimise`] shortens a history that fails, [`history`] keeps it
//! in a file for a replay. [`factors`] and [`pairwise`] span the configurations, [`outside`] holds components that
//! are not Kodiak's own, some of them wrong on purpose. [`schemas`] makes typed tables and rows. `docs/testing.md` says how to use all that.

pub mod clocked;
pub mod crash;
pub mod expected;
pub mod factors;
pub mod failing;
pub mod flights;
pub mod generate;
pub mod history;
pub mod memory;
pub mod minimise;
pub mod model;
pub mod outside;
pub mod pairwise;
pub mod published;
pub mod runner;
pub mod schemas;
pub mod tools;

/// The programs in the README and in `docs/` compile and run.
#[cfg(doctest)]
mod documentation {
    #[doc = include_str!("../../README.md")]
    mod readme {}
    #[doc = include_str!("../../docs/embedding.md")]
    mod embedding {}
    #[doc = include_str!("../../docs/adding-a-component.md")]
    mod adding_a_component {}
}
