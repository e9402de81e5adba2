//! Typed tables end to end, over a model whose order is that of Arrow's own row format.

#![allow(clippy::print_stdout, reason = "what a failing test was doing, and what was skipped")]

mod alter;
mod bulk;
mod dictionaries;
mod filters;
mod flights;
mod histories;
mod model;
mod refusals;
mod schemas;
mod stretches;
mod updates;
