//! `bt.iibench`: rows into three secondary indexes.

use kodiak::Result;
use kodiak::core::index::Updates;

use super::super::session::{commit, create_with, key, measured, sizes};
use super::super::targets::{Aim, Target};
use super::super::{BATCH, ENTRY, Row};
use super::{Lab, find, ratio};

/// The indexes together are so many times the pool.
const TIMES: [usize; 4] = [1, 2, 4, 8];

pub(super) fn run(lab: &mut Lab<'_>) -> Result<()> {
    const SECONDARIES: u64 = 3;
    for &factory in kodiak_indexes::ALL {
        let pool = (factory.pool)(lab.pool);
        let sizes = sizes(lab.pool);
        let indexes = (0..SECONDARIES)
            .map(|_| create_with(factory, &sizes, pool.clone(), lab.dir))
            .collect::<Result<Vec<_>>>()?;
        let mut done = 0;
        for times in TIMES {
            let count = lab.entries(times) as u64 / SECONDARIES;
            let per_commit = (lab.entries(1) as u64 / SECONDARIES / 2).max(BATCH as u64);
            let row = measured(&indexes, (count - done) as usize, || {
                for start in (done..count).step_by(BATCH) {
                    let end = (start + BATCH as u64).min(count);
                    for (column, index) in (0..).zip(&indexes) {
                        let mut updates = Updates::new();
                        for row in start..end {
                            // The column's value, then the row's primary key.
                            let value = key(row * SECONDARIES + column);
                            updates.put(&[value, row.to_be_bytes()].concat(), &[0; ENTRY - 16]);
                        }
                        index.apply(&updates, None)?;
                        if end == count || end / per_commit > start / per_commit {
                            commit(&**index)?;
                        }
                    }
                }
                Ok(())
            })?;
            done = count;
            let row = Row {
                index: factory.component.name,
                times,
                work: "rows".into(),
                ..row
            };
            (lab.tell)(&row);
            lab.rows.push(row);
        }
    }
    Ok(())
}

pub(super) fn shape(rows: &[Row]) -> Vec<Target> {
    let last = TIMES[TIMES.len() - 1];
    let compare = |&times: &usize| {
        ratio(
            format!("indexes of {times} pools: bplus over fractal, each row"),
            find(rows, "bplus", times, "rows"),
            find(rows, "fractal", times, "rows"),
            if times == last { Aim::AtLeast(5.0) } else { Aim::Shown },
        )
    };
    TIMES.iter().filter_map(compare).collect()
}
