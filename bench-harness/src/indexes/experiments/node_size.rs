//! `bt.nodesize`: random inserts and point reads by size of nodes.

use kodiak::Result;

use super::super::Row;
use super::super::session::{create_with, size};
use super::super::targets::{Aim, Target};
use super::{Lab, insert};

const TIMES: usize = 4;

pub(super) fn run(lab: &mut Lab<'_>) -> Result<()> {
    let count = lab.entries(TIMES);
    for &factory in kodiak_indexes::ALL {
        // Of one eighth of the pool, and down to one sixteenth of that.
        let largest = if factory.capabilities.blind_writes {
            lab.pool / 8
        } else {
            (lab.pool / 32).min(64 << 10)
        };
        for divisor in [1, 4, 16] {
            let node = (largest / divisor).max(4 << 10);
            let sizes = [
                size("page_size", node),
                size("node_size", node.max(16 << 10)),
                size("basement_size", (node / 32).max(4 << 10)),
            ];
            let index = create_with(factory, &sizes, (factory.pool)(lab.pool), lab.dir)?;
            let mut session = lab.session(factory, index, TIMES);
            insert(&mut session, &format!("{} KiB nodes", node >> 10), count)?;
            session.reads(count as u64, (count as u64 / 8).min(20_000), 104_729)?;
        }
    }
    Ok(())
}

/// The slowest of an index's sizes over its fastest.
fn spread(rows: &[Row], index: &str) -> Option<f64> {
    let times = || {
        let of_size = |row: &&Row| row.index == index && row.work.ends_with("KiB nodes");
        rows.iter().filter(of_size).map(|row| row.nanos)
    };
    Some(times().reduce(f64::max)? / times().reduce(f64::min)?)
}

pub(super) fn shape(rows: &[Row]) -> Vec<Target> {
    let (Some(bplus), Some(fractal)) = (spread(rows, "bplus"), spread(rows, "fractal")) else {
        return Vec::new();
    };
    let target = |what: &str, ratio, aim| Target {
        what: what.to_owned(),
        ratio,
        busy: None,
        aim,
    };
    vec![
        target("bplus: random inserts, slowest size over fastest", bplus, Aim::Shown),
        target(
            "fractal: random inserts, slowest size over fastest",
            fractal,
            Aim::Shown,
        ),
        target(
            "how much more the B+ tree depends on the size",
            bplus / fractal,
            Aim::AtLeast(1.0),
        ),
    ]
}
