//! Workloads: which operations are done on which keys.
//!
//! A workload is a value that names shares of operations and a way of choosing keys; it knows nothing of databases and
//! nothing of clocks. Random choices come from a seeded generator, so that every configuration gets the same operations.

mod keys;

use kodiak::{Error, Result};
use rand::{Rng, RngExt};

pub use keys::{KeyChooser, Keys};

/// One workload.
#[derive(Debug, PartialEq)]
pub struct Workload {
    /// Its name.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// What is done.
    pub kind: Kind,
}

/// What a workload does.
#[derive(Debug, PartialEq)]
pub enum Kind {
    /// Puts every entry once, in the order of the data.
    Load,
    /// Reads all entries in key order, forward (or backward).
    FullScan {
        /// From the last key to the first.
        reverse: bool,
    },
    /// Operations in these shares.
    Mix(Mix),
}

/// Operations in shares, on keys chosen at random.
#[derive(Debug, PartialEq)]
pub struct Mix {
    /// Operations with their shares, in percent; they add up to 100.
    pub shares: &'static [(Operation, u32)],
    /// How keys are chosen.
    pub keys: Keys,
    /// It does the plan's number of operations divided by this.
    pub divisor: u64,
}

/// One operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Reads the value of a key that there is.
    Read,
    /// Asks for a key that there is not.
    ReadMissing,
    /// Gives a key that there is another value.
    Update,
    /// Puts a new key.
    Insert,
    /// Reads the entries from a key on: at least and at most so many.
    Scan(u32, u32),
    /// Reads a value and writes another one.
    ReadModifyWrite,
}

impl Operation {
    /// True if it changes the database.
    pub fn writes(self) -> bool {
        matches!(self, Self::Update | Self::Insert | Self::ReadModifyWrite)
    }
}

impl Workload {
    /// True if it changes the database.
    pub fn writes(&self) -> bool {
        match &self.kind {
            Kind::Load => true,
            Kind::FullScan { .. } => false,
            Kind::Mix(mix) => mix.shares.iter().any(|(operation, _)| operation.writes()),
        }
    }
}

impl Mix {
    /// Picks the next operation.
    #[inline]
    pub fn pick(&self, random: &mut impl Rng) -> Operation {
        let mut point = random.random_range(0..100);
        for &(operation, share) in self.shares {
            if point < share {
                return operation;
            }
            point -= share;
        }
        // The shares add up to 100: a test says so.
        self.shares[0].0
    }
}

/// The load, which every plan begins with.
pub const LOAD: Workload = Workload {
    name: "load",
    summary: "Puts every entry once.",
    kind: Kind::Load,
};

const fn mix(name: &'static str, summary: &'static str, keys: Keys, divisor: u64, shares: Shares) -> Workload {
    Workload {
        name,
        summary,
        kind: Kind::Mix(Mix { shares, keys, divisor }),
    }
}

type Shares = &'static [(Operation, u32)];

/// The skew of YCSB.
const ZIPF: Keys = Keys::Zipf { exponent: 0.99 };

use Operation::{Insert, Read, ReadMissing, ReadModifyWrite, Scan, Update};

/// Every workload. Reads come first, on what was just loaded; those that change the data follow; those of YCSB (Cooper et
/// al., SoCC 2010) come last and in its order.
pub const ALL: &[Workload] = &[
    LOAD,
    mix("read", "Reads keys that there are.", Keys::Uniform, 1, &[(Read, 100)]),
    mix(
        "read-missing",
        "Asks for keys that there are not.",
        Keys::Uniform,
        1,
        &[(ReadMissing, 100)],
    ),
    mix(
        "seek-10",
        "Reads 10 entries from a key on.",
        Keys::Uniform,
        5,
        &[(Scan(10, 10), 100)],
    ),
    mix(
        "seek-100",
        "Reads 100 entries from a key on.",
        Keys::Uniform,
        10,
        &[(Scan(100, 100), 100)],
    ),
    Workload {
        name: "scan",
        summary: "Reads all entries in key order.",
        kind: Kind::FullScan { reverse: false },
    },
    Workload {
        name: "scan-reverse",
        summary: "Reads all entries from the last key to the first.",
        kind: Kind::FullScan { reverse: true },
    },
    mix(
        "overwrite",
        "Gives keys that there are other values.",
        Keys::Uniform,
        1,
        &[(Update, 100)],
    ),
    mix(
        "ycsb-a",
        "Half reads, half updates.",
        ZIPF,
        1,
        &[(Read, 50), (Update, 50)],
    ),
    mix("ycsb-b", "19 reads to one update.", ZIPF, 1, &[(Read, 95), (Update, 5)]),
    mix("ycsb-c", "Reads of few keys most of the time.", ZIPF, 1, &[(Read, 100)]),
    mix(
        "ycsb-d",
        "19 reads of new keys to one insert.",
        Keys::Latest { exponent: 0.99 },
        1,
        &[(Read, 95), (Insert, 5)],
    ),
    mix(
        "ycsb-e",
        "19 scans of 1 to 100 entries to one insert.",
        ZIPF,
        10,
        &[(Scan(1, 100), 95), (Insert, 5)],
    ),
    mix(
        "ycsb-f",
        "Half reads, half reads followed by a write.",
        ZIPF,
        1,
        &[(Read, 50), (ReadModifyWrite, 50)],
    ),
];

/// The workload of a name.
///
/// # Errors
/// `InvalidInput` that lists the workloads.
pub fn find(name: &str) -> Result<&'static Workload> {
    ALL.iter().find(|workload| workload.name == name).ok_or_else(|| {
        let known: Vec<_> = ALL.iter().map(|workload| workload.name).collect();
        Error::invalid_input(format!("unknown workload \"{name}\"; known are: {}", known.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_shares_add_up_to_a_hundred() {
        let mut names = HashSet::new();
        for workload in ALL {
            assert!(names.insert(workload.name));
            if let Kind::Mix(mix) = &workload.kind {
                assert_eq!(
                    mix.shares.iter().map(|(_, share)| share).sum::<u32>(),
                    100,
                    "{}",
                    workload.name
                );
            }
        }
    }

    #[test]
    fn operations_come_in_their_shares() {
        let Kind::Mix(mix) = &find("ycsb-b").expect("known").kind else {
            panic!("a mix")
        };
        let mut random = <rand::rngs::SmallRng as rand::SeedableRng>::seed_from_u64(1);
        let updates = (0..10_000).filter(|_| mix.pick(&mut random).writes()).count();
        assert!((400..600).contains(&updates), "{updates}");
    }

    #[test]
    fn an_unknown_workload_is_refused_with_the_known_ones() {
        let error = find("ycsb-z").expect_err("unknown").to_string();
        assert!(error.contains("ycsb-z") && error.contains("read-missing"), "{error}");
    }
}
