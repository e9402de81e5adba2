//! When sequence numbers were given out: what TTL needs, without a timestamp in every row.

use kodiak_core::SeqNo;
use parking_lot::RwLock;

/// Samples at which those that have expired are dropped.
const MOST: usize = 4096;

/// Samples `(sequence number, micros)`: every entry up to that number was written no later than that time. Both ascend.
///
/// An entry expires when the first sample at or above it is older than the TTL, so never early, and late by at most the
/// spacing of samples: a thousandth of the TTL, at least a millisecond.
#[derive(Debug, Default)]
pub(crate) struct SeqTimes {
    ttl_micros: u64,
    spacing_micros: u64,
    samples: RwLock<Vec<(SeqNo, u64)>>,
}

impl SeqTimes {
    /// For a table with this TTL; 0 keeps nothing.
    pub fn new(ttl_micros: u64) -> Self {
        Self {
            ttl_micros,
            spacing_micros: if ttl_micros == 0 {
                0
            } else {
                (ttl_micros / 1000).max(1000)
            },
            ..Self::default()
        }
    }

    /// Notes that entries up to `seq` were written by `micros`. A clock that went back counts as standing still.
    pub fn note(&self, seq: SeqNo, micros: u64) {
        if self.spacing_micros == 0 {
            return;
        }
        let mut samples = self.samples.write();
        let previous = samples.len().checked_sub(2).map(|index| samples[index].1);
        match samples.last_mut() {
            Some(last) if seq <= last.0 => {}
            // The newest sample moves along until it is far enough from the one before.
            Some(last) if previous.is_some_and(|previous| micros.saturating_sub(previous) < self.spacing_micros) => {
                *last = (seq, micros.max(last.1));
            }
            Some(last) => {
                let micros = micros.max(last.1);
                samples.push((seq, micros));
                if samples.len() >= MOST {
                    self.forget_expired(&mut samples, micros);
                }
            }
            None => samples.push((seq, micros)),
        }
    }

    /// Drops samples of which the next one has expired as well: that one tells as much. What is left are those of one TTL, about
    /// a thousand, however long the table is written to.
    fn forget_expired(&self, samples: &mut Vec<(SeqNo, u64)>, now_micros: u64) {
        let expired = samples.partition_point(|sample| sample.1.saturating_add(self.ttl_micros) <= now_micros);
        samples.drain(..expired.saturating_sub(1));
    }

    /// Merges samples of a run or the log, in any order; called while opening.
    pub fn load(&self, more: impl IntoIterator<Item = (SeqNo, u64)>) {
        if self.spacing_micros == 0 {
            return;
        }
        let mut samples = self.samples.write();
        samples.extend(more);
        samples.sort_unstable();
        let mut newest = 0;
        samples.retain_mut(|sample| {
            newest = newest.max(sample.1);
            sample.1 = newest;
            true
        });
        samples.dedup_by_key(|sample| sample.0);
    }

    /// The samples for entries of `min..=max`. They say nothing of later numbers: after a crash those may be given out anew.
    pub fn between(&self, min: SeqNo, max: SeqNo) -> Vec<(SeqNo, u64)> {
        let samples = self.samples.read();
        let from = samples.partition_point(|sample| sample.0 < min);
        let to = (samples.partition_point(|sample| sample.0 < max) + 1).min(samples.len());
        let mut kept = samples[from.min(to)..to].to_vec();
        if let Some(last) = kept.last_mut() {
            last.0 = last.0.min(max);
        }
        kept
    }

    /// Entries below this sequence number had expired at `now` with this TTL.
    pub fn expired_below(&self, now_micros: u64, ttl_micros: u64) -> SeqNo {
        let samples = self.samples.read();
        let expired = samples.partition_point(|sample| sample.1.saturating_add(ttl_micros) <= now_micros);
        expired.checked_sub(1).map_or(0, |last| samples[last].0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_expire_never_early_and_late_by_at_most_the_spacing() {
        let ttl = 1_000_000;
        let times = SeqTimes::new(ttl);
        for seq in 1..=500u64 {
            times.note(seq, 10_000 + seq * 100);
        }
        for now in (ttl..ttl + 80_000).step_by(50) {
            let below = times.expired_below(now, ttl);
            for seq in 1..=500u64 {
                let age = now as i64 - (10_000 + seq * 100) as i64;
                if seq < below {
                    assert!(age >= ttl as i64, "{seq} expired early at {now}");
                } else {
                    assert!(age < ttl as i64 + 1100, "{seq} is late at {now}");
                }
            }
        }
    }

    #[test]
    fn a_table_that_is_written_to_for_long_keeps_the_samples_of_one_ttl() {
        let ttl = 1_000_000;
        let times = SeqTimes::new(ttl);
        for seq in 1..=60_000u64 {
            let now = seq * 1000;
            times.note(seq, now);
            let below = times.expired_below(now, ttl);
            assert!(
                below + 1003 >= seq.max(1003) && below + 999 <= seq.max(1000),
                "{below} at {seq}"
            );
        }
        assert!(times.samples.read().len() < MOST);
    }

    #[test]
    fn samples_for_a_run_say_nothing_of_what_was_written_after_it() {
        let times = SeqTimes::new(1_000_000);
        times.note(10, 1_000);
        times.note(20, 50_000);
        times.note(30, 90_000);
        assert_eq!(times.between(1, 9), [(9, 1_000)]);
        assert_eq!(times.between(1, 12), [(10, 1_000), (12, 50_000)]);
        assert_eq!(times.between(11, 20), [(20, 50_000)]);
        assert_eq!(times.between(25, 40), [(30, 90_000)]);
        assert_eq!(times.between(31, 40), []);
    }

    #[test]
    fn a_clock_that_goes_back_expires_nothing_early() {
        let times = SeqTimes::new(1_000_000);
        times.note(1, 5_000_000);
        times.note(2, 1_000_000);
        assert_eq!(times.expired_below(5_999_999, 1_000_000), 0);
        assert_eq!(times.expired_below(6_000_000, 1_000_000), 3);
    }
}
