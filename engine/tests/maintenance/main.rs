//! Checkpoints, verification, repair, ingestion, backups, and what opening does about left-overs.

mod backup;
mod beside;
mod checkpoint;
mod common;
mod expiring;
mod ingest;
mod ingest_files;
mod inspect;
mod odd_files;
mod opening;
mod owners;
mod readers;
mod repair;
mod repair_data;
mod repair_log;
mod settings_kept;
mod verify;
