//! Databases open for reading only, beside a process that may be writing.

use std::sync::Arc;

use kodiak_core::{Error, Result};

use super::{VerifyReport, check_structure, verify_table};
use crate::db::Shared;
use crate::maintenance::TableFiles;
use crate::maintenance::capture::{Capture, table_dir};
use crate::manifest::{CURRENT, Manifest, State};

/// Verifies the runs that the manifest named when the database was opened, and their deletion vectors.
///
/// # Errors
/// None.
pub(super) fn verify_read(shared: &Shared, capture: Capture) -> Result<VerifyReport> {
    let mut report = VerifyReport {
        runs_only: true,
        ..VerifyReport::default()
    };
    check_structure(&capture.state, &shared.dir, &mut report);
    // A run of which the process that writes has made others since may be without its files.
    let gone = |run| {
        let newest = Manifest::read(&*capture.files, &shared.dir).and_then(|state| State::whole(&state));
        newest.is_ok_and(|state| state.runs().all(|(_, placed)| placed.run.id != run))
    };
    for (&id, table) in &capture.state.tables {
        report.tables += 1;
        let verified = table.schemas().and_then(|schemas| {
            let files = TableFiles::new(
                Arc::clone(&capture.files),
                shared.resolved.components().clone(),
                (shared.identity, id),
                table_dir(&shared.dir, id),
                schemas,
            );
            verify_table(&files, table, &gone, &mut report)
        });
        report.note(verified.map_err(|error: Error| error.with_file(shared.dir.join(CURRENT))));
    }
    Ok(report)
}
