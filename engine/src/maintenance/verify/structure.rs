//! What a manifest says, compared with itself.

use std::path::Path;

use kodiak_core::Error;

use super::VerifyReport;
use crate::manifest::{CURRENT, PlacedRun, State};

/// What the manifest says must make sense: no overlap within a sorted run, no number that was not given out.
pub(super) fn check_structure(state: &State, path: &Path, report: &mut VerifyReport) {
    let wrong =
        |message: String| Error::corruption(format!("the manifest is wrong: {message}")).with_file(path.join(CURRENT));
    for (id, table) in &state.tables {
        if *id >= state.next_table {
            report
                .problems
                .push(wrong(format!("table {id} has a number that was not given out")));
        }
        let mut placed: Vec<&PlacedRun> = table.runs.values().collect();
        placed.sort_by(|a, b| {
            (a.place.level, a.place.sorted_run, &a.run.min_key).cmp(&(
                b.place.level,
                b.place.sorted_run,
                &b.run.min_key,
            ))
        });
        for pair in placed.windows(2) {
            let [one, two] = pair else { continue };
            // A range delete may end, exclusively, at the first key of the next run.
            let touch = one.run.range_deletes > 0 && one.run.max_key == two.run.min_key;
            if one.place == two.place && one.run.max_key >= two.run.min_key && !touch {
                let message = format!(
                    "runs {} and {} of table {id} overlap within a sorted run",
                    one.run.id, two.run.id
                );
                report.problems.push(wrong(message));
            }
        }
        for placed in placed {
            let run = &placed.run;
            if run.id >= state.next_run || run.max_seq > state.last_seq {
                let message = format!("run {} of table {id} has a number that was not given out", run.id);
                report.problems.push(wrong(message));
            }
        }
    }
}
