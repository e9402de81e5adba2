//! An embeddable LSM storage engine in which every part can be exchanged.

pub mod components;
pub mod settings;

mod manifest;
mod sidecar;
