//! Typed tables end to end, over a model whose order is that of Arrow's own row format.

mod flights;
mod histories;
mod model;
mod refusals;
mod schemas;
mod updates;
