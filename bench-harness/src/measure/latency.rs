//! Latencies of single operations.

use std::time::Duration;

use hdrhistogram::Histogram;
use kodiak::{Error, Result};
use serde::{Deserialize, Serialize};

/// Records latencies from 1 ns to a minute (longer ones count as a minute), within 0.1 %.
#[derive(Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
    total_nanos: u64,
}

const LONGEST_NANOS: u64 = 60_000_000_000;

impl Latencies {
    /// None yet.
    ///
    /// # Errors
    /// None with the bounds built in.
    pub fn new() -> Result<Self> {
        let histogram = Histogram::new_with_bounds(1, LONGEST_NANOS, 3)
            .map_err(|error| Error::invalid_input("a histogram's bounds").with_source(error))?;
        Ok(Self {
            histogram,
            total_nanos: 0,
        })
    }

    /// One operation took this long.
    #[inline]
    pub fn record(&mut self, elapsed: Duration) {
        let nanos = elapsed.as_nanos() as u64;
        self.total_nanos += nanos;
        self.histogram.saturating_record(nanos.clamp(1, LONGEST_NANOS));
    }

    /// All of them together.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.total_nanos)
    }

    /// The percentiles.
    pub fn summary(&self) -> LatencySummary {
        let at = |quantile| self.histogram.value_at_quantile(quantile);
        LatencySummary {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.histogram.max(),
        }
    }
}

/// Percentiles, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencySummary {
    /// The median.
    pub p50: u64,
    /// Nine in ten are at most this.
    pub p90: u64,
    /// 99 in 100.
    pub p99: u64,
    /// 999 in 1000.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut latencies = Latencies::new().expect("valid");
        (1..=1000).for_each(|micros| latencies.record(Duration::from_micros(micros)));
        let summary = latencies.summary();
        let near = |value: u64, micros: u64| value.abs_diff(micros * 1000) <= micros;
        assert!(
            near(summary.p50, 500) && near(summary.p99, 990) && near(summary.max, 1000),
            "{summary:?}"
        );
        assert_eq!(latencies.total(), Duration::from_micros(500_500));
    }

    #[test]
    fn what_is_out_of_bounds_counts_as_the_bound() {
        let mut latencies = Latencies::new().expect("valid");
        latencies.record(Duration::ZERO);
        latencies.record(Duration::from_secs(3600));
        let summary = latencies.summary();
        assert_eq!(summary.p50, 1);
        assert!(
            summary.max >= LONGEST_NANOS && summary.max < LONGEST_NANOS + LONGEST_NANOS / 500,
            "{summary:?}"
        );
    }
}
