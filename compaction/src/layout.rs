//! How many bytes each level of a leveled tree should hold.

use kodiak_core::compaction::{LevelShape, VersionShape};

/// How level targets are derived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Capacity of one level over that of the level above (T), at least 2.
    pub size_ratio: u64,
    /// Bytes that the first level below level 0 should hold at least.
    pub base_bytes: u64,
    /// True: targets grow upwards from the size of the lowest level, so that a small database has few levels and the
    /// lowest level always holds nearly all data. False: targets grow downwards from level 1.
    pub dynamic: bool,
}

/// Targets for one shape.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Targets {
    /// The level that level 0 is merged into. All levels between are empty.
    pub base: usize,
    /// Bytes for each level; 0 above the level where the tree should begin (what is there moves down).
    pub bytes: Vec<u64>,
}

impl Layout {
    /// The targets of a shape with at least two levels.
    pub fn targets(&self, shape: &VersionShape) -> Targets {
        let levels = shape.levels.len();
        let first_used = (1..levels).find(|&level| shape.levels[level].runs().next().is_some());
        if !self.dynamic {
            let mut bytes = vec![0; levels];
            let mut target = self.base_bytes;
            for slot in &mut bytes[1..] {
                *slot = target;
                target = target.saturating_mul(self.size_ratio);
            }
            return Targets { base: 1, bytes };
        }
        let last = levels - 1;
        let largest = shape.levels[1..].iter().map(LevelShape::bytes).max().unwrap_or(0);
        let mut bytes = vec![0; levels];
        let mut begin = last;
        bytes[last] = largest.max(self.base_bytes);
        // One level more pays once level 0 would have to be merged into more than half a ratio of its own size.
        let threshold = self.base_bytes.saturating_mul(self.size_ratio.div_ceil(2));
        while begin > 1 && bytes[begin] > threshold {
            bytes[begin - 1] = (bytes[begin] / self.size_ratio).max(self.base_bytes);
            begin -= 1;
        }
        // Level 0 must never pass a level that still holds something.
        Targets {
            base: first_used.map_or(begin, |used| used.min(begin)),
            bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pick::tests::{run, sorted};

    fn shape(bytes: &[u64]) -> VersionShape {
        let levels = bytes
            .iter()
            .enumerate()
            .map(|(level, &bytes)| match bytes {
                0 => LevelShape::default(),
                _ => LevelShape {
                    sorted_runs: vec![sorted(vec![run(level as u64, "a", "z", bytes)])],
                },
            })
            .collect();
        VersionShape { levels, now_micros: 0 }
    }

    const LAYOUT: Layout = Layout {
        size_ratio: 10,
        base_bytes: 100,
        dynamic: true,
    };

    #[test]
    fn a_small_database_has_one_level_below_level_0() {
        let targets = LAYOUT.targets(&shape(&[10, 0, 0, 0, 400]));
        assert_eq!(
            targets,
            Targets {
                base: 4,
                bytes: vec![0, 0, 0, 0, 400]
            }
        );
    }

    #[test]
    fn targets_of_a_large_database_keep_the_ratio() {
        let targets = LAYOUT.targets(&shape(&[10, 0, 90, 900, 90_000]));
        assert_eq!(
            targets,
            Targets {
                base: 1,
                bytes: vec![0, 100, 900, 9_000, 90_000]
            }
        );
    }

    #[test]
    fn level_0_never_passes_a_level_in_use() {
        let targets = LAYOUT.targets(&shape(&[10, 0, 90, 0, 100]));
        assert_eq!(
            targets,
            Targets {
                base: 2,
                bytes: vec![0, 0, 0, 0, 100]
            }
        );
    }

    #[test]
    fn static_targets_grow_downwards() {
        let layout = Layout {
            dynamic: false,
            ..LAYOUT
        };
        let targets = layout.targets(&shape(&[10, 0, 0, 5]));
        assert_eq!(
            targets,
            Targets {
                base: 1,
                bytes: vec![0, 100, 1_000, 10_000]
            }
        );
    }
}
