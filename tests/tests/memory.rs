//! Memory of a process of its own, which therefore has one test only.

use kodiak_tests::memory::{BEYOND_BUDGET, Peak, load, settings};

#[test]
fn memory_stays_within_the_budget_and_64_mib_while_ten_times_as_much_is_written_and_compacted() {
    if Peak::now().is_none() {
        eprintln!("skipped: there is no /proc here to measure with");
        return;
    }
    let budget = 24 << 20;
    // One after the other: the process's mark never falls, so the first failure is the one to look at.
    for wal in ["segment", "mapped"] {
        let mut settings = settings(budget);
        settings.wal.kind = wal.to_owned();
        let dir = tempfile::tempdir().expect("a directory");
        let peak = load(dir.path(), &settings, 10 * budget, 1000).expect("it is all there");
        let peak = peak.expect("looked at before");
        eprintln!("{wal}: {peak:?}");
        assert!(
            peak.anonymous + peak.mapped > 20 << 20,
            "{wal}: measured too little: {peak:?}"
        );
        // Not the kernel's mark, which the reading at the end of the first round has raised.
        let resident = peak.anonymous + peak.mapped;
        assert!(
            resident <= budget + BEYOND_BUDGET,
            "{wal}: {} MiB are resident, {} allowed: {peak:?}",
            resident >> 20,
            (budget + BEYOND_BUDGET) >> 20
        );
    }
}
