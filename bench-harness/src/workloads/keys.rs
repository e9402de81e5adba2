//! How keys are chosen.

use kodiak::{Error, Result};
use rand::{Rng, RngExt};
use rand_distr::{Distribution, Zipf};

use crate::data::mix;

/// A distribution over the entries that there are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Keys {
    /// Each as likely as any other.
    Uniform,
    /// A few most of the time, spread over the whole key space.
    Zipf {
        /// Larger is more skewed.
        exponent: f64,
    },
    /// The newest most of the time.
    Latest {
        /// Larger is more skewed.
        exponent: f64,
    },
}

/// Draws entries from a distribution.
#[derive(Debug)]
pub struct KeyChooser {
    keys: Keys,
    zipf: Option<Zipf<f64>>,
    /// The entries that `zipf` was made for.
    made_for: u64,
}

impl KeyChooser {
    /// A chooser among `entries` entries.
    ///
    /// # Errors
    /// `InvalidInput` for no entries, or an exponent below 0.
    pub fn new(keys: Keys, entries: u64) -> Result<Self> {
        if entries == 0 {
            return Err(Error::invalid_input("there are no entries to choose from"));
        }
        let zipf = match keys {
            Keys::Uniform => None,
            Keys::Zipf { exponent } | Keys::Latest { exponent } => Some(
                Zipf::new(entries as f64, exponent)
                    .map_err(|error| Error::invalid_input(format!("a Zipf exponent of {exponent}: {error}")))?,
            ),
        };
        Ok(Self {
            keys,
            zipf,
            made_for: entries,
        })
    }

    /// The next entry, of `entries` that there are by now.
    ///
    /// What was inserted since the chooser was made is drawn by [`Keys::Uniform`] and [`Keys::Latest`] only, as in YCSB.
    #[inline]
    pub fn next(&self, entries: u64, random: &mut impl Rng) -> u64 {
        // Ranks begin with 1.
        let rank = |random: &mut _| self.zipf.as_ref().map_or(0, |zipf| zipf.sample(random) as u64 - 1);
        match self.keys {
            Keys::Uniform => random.random_range(0..entries),
            Keys::Zipf { .. } => mix(rank(random)) % self.made_for,
            Keys::Latest { .. } => entries - 1 - rank(random).min(entries - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    fn counts(keys: Keys, entries: u64) -> Vec<usize> {
        let chooser = KeyChooser::new(keys, entries).expect("valid");
        let mut random = SmallRng::seed_from_u64(7);
        let mut counts = vec![0; entries as usize];
        (0..20_000).for_each(|_| counts[chooser.next(entries, &mut random) as usize] += 1);
        counts
    }

    #[test]
    fn uniform_keys_are_about_equally_frequent() {
        assert!(
            counts(Keys::Uniform, 100)
                .iter()
                .all(|count| (100..300).contains(count))
        );
    }

    #[test]
    fn a_few_zipf_keys_take_most_and_are_spread_out() {
        let counts = counts(Keys::Zipf { exponent: 0.99 }, 1000);
        let mut sorted: Vec<_> = counts.iter().copied().enumerate().collect();
        sorted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let top: usize = sorted.iter().take(50).map(|(_, count)| count).sum();
        assert!((9_000..16_000).contains(&top), "{top}");
        assert!(
            sorted.iter().take(10).any(|(index, _)| *index > 500),
            "hot keys are not all at the start"
        );
    }

    #[test]
    fn the_latest_keys_are_the_hottest() {
        let counts = counts(Keys::Latest { exponent: 0.99 }, 1000);
        assert!(counts[999] > counts[900] && counts[999] > 1000);
    }

    #[test]
    fn no_entries_are_refused() {
        assert!(KeyChooser::new(Keys::Uniform, 0).is_err());
    }
}
