//! Experiments of the literature on fractal trees and B+ trees, scaled down to a small pool; each says whether the shape
//! that was published is seen. What decides is the ratio of data to memory, and of nodes to entries, not their size.

mod iibench;
mod node_size;

use std::path::Path;

use kodiak::Result;
use kodiak::core::index::{Index, IndexFactory, Updates};
use kodiak::core::options::OptionValue;

use super::session::{Session, create, create_with, key, sizes};
use super::targets::{Aim, Target};
use super::{Bench, ENTRY, Row, VALUE};

/// A published experiment.
#[derive(Debug)]
pub struct Experiment {
    /// Its name.
    pub name: &'static str,
    /// What was measured, by whom.
    pub what: &'static str,
    /// What came out, there.
    pub published: &'static str,
    run: fn(&mut Lab<'_>) -> Result<()>,
    shape: fn(&[Row]) -> Vec<Target>,
}

/// All of them.
pub const EXPERIMENTS: &[Experiment] = &[
    Experiment {
        name: "bt.iibench",
        what: "rows that go into three secondary indexes on random integers (iiBench; Tokutek)",
        published: "the B+ tree falls off once the indexes exceed memory, 9 to 16 times behind the fractal tree",
        run: iibench::run,
        shape: iibench::shape,
    },
    Experiment {
        name: "bt.nodesize",
        what: "random inserts and point reads by size of nodes (Bender et al., in the affine model)",
        published: "the B+ tree depends on the size of its nodes, the fractal tree hardly",
        run: node_size::run,
        shape: node_size::shape,
    },
    Experiment {
        name: "bt.upsert",
        what: "blind upserts, inserts, and reads followed by a write",
        published: "an upsert costs about an insert, a read-modify-write about a point read more",
        run: upsert,
        shape: upsert_shape,
    },
    Experiment {
        name: "bt.sequential",
        what: "sorted inserts, with and without promotion",
        published: "promotion makes up for what buffers cost sorted input",
        run: sequential,
        shape: sequential_shape,
    },
    Experiment {
        name: "bt.cached",
        what: "random inserts into data that fits memory, and into data that does not",
        published: "in memory the advantage of the fractal tree vanishes, or turns round",
        run: cached,
        shape: cached_shape,
    },
];

impl Experiment {
    /// The experiment of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        EXPERIMENTS.iter().find(|experiment| experiment.name == name)
    }

    /// Runs it, telling each result as it comes; returns the ratios in which its shape shows.
    ///
    /// # Errors
    /// `Io`; `Corruption` if an index gives a wrong answer.
    pub fn run(&self, bench: &Bench, tell: &mut dyn FnMut(&Row)) -> Result<Vec<Target>> {
        let dir = bench.directory()?;
        let mut rows = Vec::new();
        (self.run)(&mut Lab {
            pool: bench.pool,
            dir: dir.path(),
            rows: &mut rows,
            tell,
        })?;
        Ok((self.shape)(&rows))
    }
}

/// What an experiment works with.
struct Lab<'a> {
    pool: usize,
    dir: &'a Path,
    rows: &'a mut Vec<Row>,
    tell: &'a mut dyn FnMut(&Row),
}

impl Lab<'_> {
    fn session(&mut self, factory: &'static IndexFactory, index: Box<dyn Index>, times: usize) -> Session<'_> {
        Session {
            factory,
            index,
            pool: self.pool,
            times,
            rows: self.rows,
            tell: self.tell,
        }
    }

    /// An index with nodes of the size that goes with the pool.
    fn usual(&mut self, factory: &'static IndexFactory, times: usize) -> Result<Session<'_>> {
        let index = create(factory, self.pool, self.pool, self.dir)?;
        Ok(self.session(factory, index, times))
    }

    /// Entries of so many times the pool.
    fn entries(&self, times: usize) -> usize {
        self.pool / ENTRY * times
    }
}

/// Random inserts, of which the last quarter counts: that is what they cost at this size.
fn insert(session: &mut Session<'_>, work: &str, count: usize) -> Result<()> {
    let early = count * 3 / 4;
    let put = |number: u64, updates: &mut Updates| {
        updates.put(&key(number), &[number as u8; VALUE]);
        Ok(())
    };
    session.write("growing", early, |_, number, updates| put(number, updates))?;
    session.write(work.to_owned(), count - early, |_, number, updates| {
        put(early as u64 + number, updates)
    })
}

fn find<'r>(rows: &'r [Row], index: &str, times: usize, work: &str) -> Option<&'r Row> {
    rows.iter()
        .find(|row| row.index == index && row.times == times && row.work == work)
}

/// How much longer `over` takes than `under`.
fn ratio(what: String, over: Option<&Row>, under: Option<&Row>, aim: Aim) -> Option<Target> {
    let (over, under) = (over?, under?);
    Some(Target {
        what,
        ratio: over.nanos / under.nanos,
        busy: (over.busy > 0.0 && under.busy > 0.0).then(|| over.busy / under.busy),
        aim,
    })
}

const UPSERT_TIMES: usize = 4;

fn upsert(lab: &mut Lab<'_>) -> Result<()> {
    let count = lab.entries(UPSERT_TIMES);
    let some = (count / 8).min(20_000);
    for &factory in kodiak_indexes::ALL {
        let mut session = lab.usual(factory, UPSERT_TIMES)?;
        insert(&mut session, "inserts", count)?;
        session.write("upserts", count / 4, |_, number, updates| {
            updates.upsert(&key(number.wrapping_mul(1_000_003) % count as u64), &[1; VALUE]);
            Ok(())
        })?;
        session.reads(count as u64, some as u64, 104_729)?;
        session.write("read-modify-writes", some, |index, number, updates| {
            let key = key(number.wrapping_mul(600_011) % count as u64);
            let mut value = index.get(&key)?.unwrap_or_default();
            value.rotate_left(1);
            updates.put(&key, &value);
            Ok(())
        })?;
    }
    Ok(())
}

fn upsert_shape(rows: &[Row]) -> Vec<Target> {
    let fractal = |work| find(rows, "fractal", UPSERT_TIMES, work);
    let compared = [
        ("upserts", "inserts", Aim::AtMost(1.5)),
        ("read-modify-writes", "upserts", Aim::AtLeast(2.0)),
        ("read-modify-writes", "point reads", Aim::AtMost(2.0)),
    ];
    let compare = |(over, under, aim)| {
        ratio(
            format!("fractal: {over} over {under}"),
            fractal(over),
            fractal(under),
            aim,
        )
    };
    compared.into_iter().filter_map(compare).collect()
}

const SEQUENTIAL_TIMES: usize = 8;

fn sequential(lab: &mut Lab<'_>) -> Result<()> {
    let count = lab.entries(SEQUENTIAL_TIMES);
    for &factory in kodiak_indexes::ALL {
        for promotion in [true, false] {
            let has = |name| factory.component.options.iter().any(|option| option.name == name);
            if !promotion && !has("promotion") {
                continue;
            }
            let [node, basement] = sizes(lab.pool);
            let given = [node, basement, ("promotion", OptionValue::Bool(promotion))];
            let index = create_with(factory, &given, (factory.pool)(lab.pool), lab.dir)?;
            let work = if promotion {
                "sorted inserts"
            } else {
                "without promotion"
            };
            lab.session(factory, index, SEQUENTIAL_TIMES)
                .write(work, count, |_, number, updates| {
                    updates.put(&number.to_be_bytes(), &[number as u8; VALUE]);
                    Ok(())
                })?;
        }
    }
    Ok(())
}

fn sequential_shape(rows: &[Row]) -> Vec<Target> {
    let sorted = |index| find(rows, index, SEQUENTIAL_TIMES, "sorted inserts");
    let without = find(rows, "fractal", SEQUENTIAL_TIMES, "without promotion");
    [
        ratio(
            "fractal: without promotion over with it".to_owned(),
            without,
            sorted("fractal"),
            Aim::AtLeast(1.0),
        ),
        ratio(
            "fractal over bplus, with promotion".to_owned(),
            sorted("fractal"),
            sorted("bplus"),
            Aim::AtMost(1.5),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const LARGE: usize = 8;

fn cached(lab: &mut Lab<'_>) -> Result<()> {
    for &factory in kodiak_indexes::ALL {
        // A quarter of the pool, so that what an index takes beside its entries fits as well.
        let mut session = lab.usual(factory, 0)?;
        let count = session.pool / ENTRY / 4;
        insert(&mut session, "random inserts", count)?;
        let count = lab.entries(LARGE);
        insert(&mut lab.usual(factory, LARGE)?, "random inserts", count)?;
    }
    Ok(())
}

fn cached_shape(rows: &[Row]) -> Vec<Target> {
    let compare = |times, what: &str, aim| {
        let of = |index| find(rows, index, times, "random inserts");
        ratio(format!("{what}: bplus over fractal"), of("bplus"), of("fractal"), aim)
    };
    let small = compare(0, "a quarter of the pool", Aim::AtMost(2.0));
    let large = compare(LARGE, "8 pools", Aim::AtLeast(2.0));
    small.into_iter().chain(large).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_experiment_shows_its_ratios() {
        let bench = Bench {
            pool: 1 << 20,
            times: vec![],
            memory_entries: 0,
            dir: None,
        };
        for experiment in EXPERIMENTS {
            let mut told = 0;
            let targets = experiment.run(&bench, &mut |_| told += 1).expect("it runs");
            assert!(told > 0 && targets.len() > 1, "{}: {targets:?}", experiment.name);
            for target in targets {
                assert!(target.ratio.is_finite() && target.ratio > 0.0, "{target}");
            }
        }
        assert!(Experiment::find("bt.upsert").is_some() && Experiment::find("bt.nothing").is_none());
    }
}
