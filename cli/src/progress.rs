//! Progress bars on standard error, for work that takes long. Where that is no terminal, nothing is shown.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use kodiak_bench_harness::Progress;

const TICK: Duration = Duration::from_millis(200);

fn style(template: &str) -> ProgressStyle {
    // The templates are constants; a test parses each.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

const BYTES: &str = "{msg} {wide_bar} {bytes}/{total_bytes} ({eta} left)";
const ROWS: &str = "{msg} {wide_bar} {human_pos}/{human_len} ({per_sec}, {eta} left)";
const COUNT: &str = "{spinner} {human_pos} rows ({per_sec}, {elapsed})";
const BUSY: &str = "{spinner} {msg} ({elapsed})";

/// A bar over the bytes of a file, whose message tells the rows.
pub fn bytes(total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total).with_style(style(BYTES));
    bar.enable_steady_tick(TICK);
    bar
}

/// Rows of which nobody knows how many there are.
pub fn rows() -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_style(style(COUNT));
    bar.enable_steady_tick(TICK);
    bar
}

/// Does something that takes long and cannot tell how far it is.
pub fn busy<T>(what: &'static str, work: impl FnOnce() -> T) -> T {
    let bar = ProgressBar::new_spinner().with_style(style(BUSY)).with_message(what);
    bar.enable_steady_tick(TICK);
    let done = work();
    bar.finish_and_clear();
    done
}

/// The progress of a configuration under test.
pub struct WorkloadBar {
    configuration: String,
    bar: ProgressBar,
}

impl WorkloadBar {
    /// A bar for the configuration of this name.
    pub fn new(configuration: &str) -> Self {
        Self {
            configuration: configuration.to_owned(),
            bar: ProgressBar::hidden(),
        }
    }
}

impl Drop for WorkloadBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for WorkloadBar {
    fn begin(&mut self, workload: &str, total: u64) {
        self.bar.finish_and_clear();
        self.bar = ProgressBar::new(total).with_style(style(ROWS));
        self.bar.set_message(format!("{}: {workload}", self.configuration));
    }

    fn done(&mut self, done: u64) {
        self.bar.set_position(done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_valid() {
        for template in [BYTES, ROWS, COUNT, BUSY] {
            ProgressStyle::with_template(template).expect(template);
        }
    }
}
