//! Which run of a level goes down first.

use std::cmp::Ordering;

use kodiak_core::compaction::RunShape;

/// The names of the movements, in the settings; the first is the default.
pub(crate) const NAMES: &[&str] = &["least-overlap", "round-robin", "oldest", "tombstone-density"];

/// The rule by which a run is chosen. All are functions of the shape alone; ties go to the smallest run number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Movement {
    /// Fewest bytes to rewrite in the level below, for each byte that goes down.
    LeastOverlap,
    /// Through the key space in turn, going on after the newest run of the level below.
    RoundRobin,
    /// The run whose newest entry is the oldest.
    Oldest,
    /// The largest share of tombstones; where there are none, by least overlap.
    TombstoneDensity,
}

/// A run that could go down.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    /// Its index in the level's sorted run.
    pub index: usize,
    /// The run.
    pub run: &'a RunShape,
    /// Bytes that it overlaps in the level below.
    pub overlap_bytes: u64,
}

impl Candidate<'_> {
    fn overlap_ratio(&self) -> f64 {
        self.overlap_bytes as f64 / self.run.bytes.max(1) as f64
    }

    fn tombstone_share(&self) -> f64 {
        self.run.tombstones as f64 / self.run.entries.max(1) as f64
    }
}

impl Movement {
    /// The movement of a name in [`NAMES`].
    pub fn from_name(name: &str) -> Self {
        match name {
            "round-robin" => Self::RoundRobin,
            "oldest" => Self::Oldest,
            "tombstone-density" => Self::TombstoneDensity,
            _ => Self::LeastOverlap,
        }
    }

    /// Orders `candidates`, the one to move first at the front. `below` are the runs of the level below.
    pub fn rank(self, candidates: &mut [Candidate<'_>], below: &[RunShape]) {
        let by_overlap = |left: &Candidate<'_>, right: &Candidate<'_>| {
            left.overlap_ratio()
                .total_cmp(&right.overlap_ratio())
                .then(left.run.id.cmp(&right.run.id))
        };
        match self {
            Self::LeastOverlap => candidates.sort_by(by_overlap),
            Self::RoundRobin => {
                let cursor = below.iter().max_by_key(|run| run.id).map(|run| &*run.max_key);
                let passed = |candidate: &Candidate<'_>| cursor.is_some_and(|cursor| &*candidate.run.min_key <= cursor);
                candidates.sort_by(|left, right| passed(left).cmp(&passed(right)).then(left.index.cmp(&right.index)));
            }
            Self::Oldest => candidates.sort_by_key(|candidate| (candidate.run.max_seq, candidate.run.id)),
            Self::TombstoneDensity => {
                candidates.sort_by(
                    |left, right| match right.tombstone_share().total_cmp(&left.tombstone_share()) {
                        Ordering::Equal => by_overlap(left, right),
                        unequal => unequal,
                    },
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pick::tests::run;

    fn order(movement: Movement, below: &[RunShape]) -> Vec<u64> {
        let mut runs = [run(7, "a", "b", 10), run(5, "c", "d", 10), run(6, "e", "f", 20)];
        runs[2].max_seq = 1;
        runs[0].tombstones = 3;
        runs[1].tombstones = 1;
        let overlaps = [30, 10, 10];
        let mut candidates: Vec<_> = runs
            .iter()
            .enumerate()
            .map(|(index, run)| Candidate {
                index,
                run,
                overlap_bytes: overlaps[index],
            })
            .collect();
        movement.rank(&mut candidates, below);
        candidates.iter().map(|candidate| candidate.run.id).collect()
    }

    #[test]
    fn each_movement_has_its_own_order() {
        assert_eq!(order(Movement::LeastOverlap, &[]), [6, 5, 7]);
        assert_eq!(order(Movement::Oldest, &[])[0], 6);
        assert_eq!(order(Movement::TombstoneDensity, &[]), [7, 5, 6]);
        assert_eq!(order(Movement::RoundRobin, &[]), [7, 5, 6]);
    }

    #[test]
    fn round_robin_goes_on_after_the_newest_run_below() {
        let below = [run(1, "a", "b", 1), run(9, "b", "c", 1), run(2, "x", "y", 1)];
        assert_eq!(order(Movement::RoundRobin, &below), [6, 7, 5]);
    }

    #[test]
    fn every_name_is_a_movement_of_its_own() {
        let mut seen: Vec<_> = NAMES.iter().map(|name| Movement::from_name(name)).collect();
        seen.dedup();
        assert_eq!(seen.len(), NAMES.len());
    }
}
