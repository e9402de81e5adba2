//! What lies in pieces: sorted entries, buffers of changes, keys between children.

pub(crate) mod batch;
pub(crate) mod block;
pub(crate) mod buffer;
pub(crate) mod builder;
mod guide;
pub(crate) mod keys;
pub(crate) mod merge;
pub(crate) mod operands;
pub(crate) mod ranges;
pub(crate) mod reader;
pub(crate) mod staged;

#[cfg(test)]
mod tests;
