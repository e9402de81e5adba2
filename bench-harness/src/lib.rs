//! Workloads, measurement and reports that compare configurations of Kodiak.
//!
//! A [`Plan`] says what is done: which data, which workloads, how many operations. [`run_configuration`] does it with one
//! [`Configuration`] in a directory of its own, checks every answer against a model, and returns an [`Outcome`];
//! [`Comparison::new`] puts outcomes side by side and refuses them if they did not give the same answers.
//!
//! [`indexes`] measures the indexes by themselves, as the maps that they are.
//!
//! The parts are kept apart, so that each can grow: [`data`] makes entries, [`workloads`] choose operations, [`measure`]
//! turns what happened into figures, and [`report`] prints them.

mod comparison;
pub mod configuration;
pub mod data;
pub mod indexes;
pub mod measure;
mod plan;
pub mod report;
mod run;
pub mod workloads;

pub use comparison::Comparison;
pub use configuration::Configuration;
pub use plan::Plan;
pub use run::{Outcome, Progress, Quiet, Workspace, run_configuration};
