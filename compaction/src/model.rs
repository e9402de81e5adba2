//! What a layout costs: the K-LSM cost model, and Monkey's allocation of filter bits.
//!
//! Sources: Dayan, Athanassoulis, Idreos, "Monkey: Optimal Navigable Key-Value Store" (SIGMOD 2017); Dayan, Idreos,
//! "Dostoevsky" (SIGMOD 2018); Huynh et al., "Endure" (VLDB 2022) for the general form with K_i sorted runs at level i.
//! Costs are expected page accesses for one operation. Level 1 is the first level on disk.

/// Natural logarithm of 2, squared: e^(-bits x this) is the false positive rate of an ideal Bloom filter.
const LN2_SQUARED: f64 = std::f64::consts::LN_2 * std::f64::consts::LN_2;

/// How filter bits are spread over the levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocation {
    /// The same bits per key everywhere.
    Uniform,
    /// Rates proportional to the size of the level (Monkey).
    Monkey,
}

/// A table and the layout of its levels.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Entries in the table (N).
    pub entries: f64,
    /// Bytes of an entry (E).
    pub entry_bytes: f64,
    /// Entries in a page (B).
    pub page_entries: f64,
    /// Bytes of the memtable (M_buf).
    pub buffer_bytes: f64,
    /// Capacity of a level over that of the one above (T), above 1.
    pub size_ratio: f64,
    /// Filter bits for each key (h).
    pub bits_per_key: f64,
    /// Cost of writing a page over that of reading one (phi).
    pub write_cost: f64,
    /// Sorted runs at each level (K_1 ..); levels beyond its end have as many as its last.
    pub runs: Vec<f64>,
}

impl Model {
    /// Levels on disk (L), at least one.
    pub fn levels(&self) -> usize {
        let ratio = self.entries * self.entry_bytes / self.buffer_bytes + 1.0;
        // A little slack, so that an exactly full last level is not counted as one more.
        ((ratio.ln() / self.size_ratio.ln() - 1e-9).ceil()).max(1.0) as usize
    }

    /// Sorted runs at a level (from 1).
    pub fn runs_at(&self, level: usize) -> f64 {
        self.runs.get(level - 1).or(self.runs.last()).copied().unwrap_or(1.0)
    }

    /// The false positive rate of one run's filter at a level (from 1).
    pub fn false_positive_rate(&self, level: usize, allocation: Allocation) -> f64 {
        let uniform = (-self.bits_per_key * LN2_SQUARED).exp();
        let rate = match allocation {
            Allocation::Uniform => uniform,
            Allocation::Monkey => {
                let t = self.size_ratio;
                t.powf(t / (t - 1.0)) / t.powi((self.levels() + 1 - level) as i32) * uniform
            }
        };
        rate.min(1.0)
    }

    /// A point read of a key that does not exist (Z_0).
    pub fn absent_point_read(&self, allocation: Allocation) -> f64 {
        (1..=self.levels())
            .map(|level| self.runs_at(level) * self.false_positive_rate(level, allocation))
            .sum()
    }

    /// A point read of a key that exists (Z_1).
    pub fn present_point_read(&self, allocation: Allocation) -> f64 {
        let mut above = 0.0;
        let mut cost = 0.0;
        for level in 1..=self.levels() {
            let rate = self.false_positive_rate(level, allocation);
            let runs = self.runs_at(level);
            cost += self.share(level) * (1.0 + above + (runs - 1.0) / 2.0 * rate);
            above += runs * rate;
        }
        cost
    }

    /// The share of a full tree's entries that is at a level.
    fn share(&self, level: usize) -> f64 {
        let t = self.size_ratio;
        (t - 1.0) * t.powi(level as i32 - 1) / (t.powi(self.levels() as i32) - 1.0)
    }

    /// A range read of the share `selectivity` of all entries (Q): the pages, and a seek in each sorted run.
    pub fn range_read(&self, selectivity: f64) -> f64 {
        let seeks: f64 = (1..=self.levels()).map(|level| self.runs_at(level)).sum();
        selectivity * self.entries / self.page_entries + seeks
    }

    /// The share of one write in all later compactions (W).
    pub fn write(&self) -> f64 {
        let merges: f64 = (1..=self.levels())
            .map(|level| (self.size_ratio - 1.0 + self.runs_at(level)) / (2.0 * self.runs_at(level)))
            .sum();
        (1.0 + self.write_cost) / self.page_entries * merges
    }
}

/// Filter bits per key for each level, so that the sum of false positive rates over all sorted runs is least for
/// `total_bits_per_key` bits per key of the table (Monkey).
///
/// `levels_runs` are the sorted runs of each level (K_i), `entries_per_level` its entries, both from the same level down;
/// a level missing from `levels_runs` has one. A level without entries is taken to hold `1/size_ratio` of the next one that
/// has some (or of one entry), so that its first run gets fitting bits. The optimum has rates proportional to entries per
/// sorted run; levels whose rate would pass 1 get no filter and the others share their bits.
pub fn allocate(
    total_bits_per_key: f64,
    size_ratio: u64,
    levels_runs: &[usize],
    entries_per_level: &[u64],
) -> Vec<f64> {
    let ratio = size_ratio.max(2) as f64;
    let mut below = ratio;
    let mut entries: Vec<f64> = entries_per_level
        .iter()
        .rev()
        .map(|&entries| {
            below = if entries == 0 { below / ratio } else { entries as f64 };
            below
        })
        .collect();
    entries.reverse();
    let per_run: Vec<f64> = entries
        .iter()
        .enumerate()
        .map(|(level, entries)| entries / levels_runs.get(level).copied().unwrap_or(1).max(1) as f64)
        .collect();
    let mut filtered = vec![total_bits_per_key > 0.0; entries.len()];
    loop {
        let budget = total_bits_per_key * entries.iter().sum::<f64>() * LN2_SQUARED;
        let (mut keys, mut logs) = (0.0, 0.0);
        for level in (0..entries.len()).filter(|&level| filtered[level]) {
            keys += entries[level];
            logs += entries[level] * per_run[level].ln();
        }
        if keys == 0.0 {
            return vec![0.0; entries.len()];
        }
        // The rate of a level is e^log_scale times its entries per run; the bits of all levels add up to the budget.
        let log_scale = -(budget + logs) / keys;
        let bits = |level: usize| -(log_scale + per_run[level].ln()) / LN2_SQUARED;
        let worst = (0..entries.len())
            .filter(|&level| filtered[level] && bits(level) <= 0.0)
            .max_by(|&left, &right| per_run[left].total_cmp(&per_run[right]));
        match worst {
            Some(level) => filtered[level] = false,
            None => {
                return (0..entries.len())
                    .map(|level| if filtered[level] { bits(level) } else { 0.0 })
                    .collect();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leveling() -> Model {
        Model {
            entries: 9_999.0,
            entry_bytes: 1.0,
            page_entries: 4.0,
            buffer_bytes: 1.0,
            size_ratio: 10.0,
            bits_per_key: 10.0,
            write_cost: 1.0,
            runs: vec![1.0],
        }
    }

    #[test]
    fn monkey_costs_36_percent_of_uniform_at_ratio_10_and_4_levels() {
        let model = leveling();
        assert_eq!(model.levels(), 4);
        let share = model.absent_point_read(Allocation::Monkey) / model.absent_point_read(Allocation::Uniform);
        assert!((share - 0.359).abs() < 0.0005, "{share}");
    }

    #[test]
    fn ten_bits_give_a_rate_of_0_82_percent() {
        assert!((leveling().false_positive_rate(1, Allocation::Uniform) - 0.0082).abs() < 0.0001);
    }

    #[test]
    fn shares_of_levels_add_up_to_one() {
        let model = leveling();
        let sum: f64 = (1..=model.levels()).map(|level| model.share(level)).sum();
        assert!((sum - 1.0).abs() < 1e-12);
        assert!(model.present_point_read(Allocation::Monkey) < model.present_point_read(Allocation::Uniform));
    }

    #[test]
    fn tiering_writes_less_and_reads_more_than_leveling() {
        let (leveling, tiering) = (
            leveling(),
            Model {
                runs: vec![9.0],
                ..leveling()
            },
        );
        assert!((leveling.write() - 10.0).abs() < 1e-9, "{}", leveling.write());
        assert!((tiering.write() - 2.0).abs() < 1e-9, "{}", tiering.write());
        assert!((tiering.range_read(0.0), leveling.range_read(0.0)) == (36.0, 4.0));
        let absent = |model: &Model| model.absent_point_read(Allocation::Monkey);
        assert!((absent(&tiering) / absent(&leveling) - 9.0).abs() < 1e-9);
    }

    #[test]
    fn allocation_agrees_with_the_closed_form_and_spends_the_budget() {
        let entries = [9u64, 90, 900, 9000];
        let bits = allocate(10.0, 10, &[1; 4], &entries);
        let spent: f64 = bits
            .iter()
            .zip(entries)
            .map(|(bits, entries)| bits * entries as f64)
            .sum();
        assert!((spent - 10.0 * 9999.0).abs() < 1e-6);
        let sum: f64 = bits.iter().map(|bits| (-bits * LN2_SQUARED).exp()).sum();
        let model = leveling().absent_point_read(Allocation::Monkey);
        assert!((sum / model - 1.0).abs() < 0.01, "{sum} against {model}");
    }

    #[test]
    fn levels_too_large_to_filter_get_no_bits() {
        let bits = allocate(0.001, 10, &[1; 3], &[10, 100, 100_000]);
        assert!(bits[0] > bits[1] && bits[1] > 0.0 && bits[2] == 0.0, "{bits:?}");
        assert_eq!(allocate(0.0, 10, &[], &[5, 50]), [0.0, 0.0]);
        assert!(allocate(10.0, 10, &[], &[]).is_empty());
    }

    #[test]
    fn empty_levels_get_bits_as_if_they_were_smaller() {
        let bits = allocate(10.0, 10, &[4, 1, 1], &[0, 0, 1000]);
        assert!(bits[0] > bits[1] && bits[1] > bits[2] && bits[2] > 9.0, "{bits:?}");
        assert!(allocate(10.0, 10, &[], &[0, 0]).iter().all(|bits| bits.is_finite()));
    }
}
