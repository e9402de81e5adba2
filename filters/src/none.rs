//! No filter: every run is asked.

use kodiak_core::filter::{Filter, FilterCapabilities, FilterFactory};
use kodiak_core::registry::Component;

use crate::trailer::damaged;

/// No filter.
pub(crate) const FACTORY: FilterFactory = FilterFactory {
    component: Component {
        name: "none",
        summary: "No filter: no memory, and every run is searched.",
        options: &[],
    },
    capabilities: FilterCapabilities {
        adjustable_bits: false,
        typical_bits_per_key: 0.0,
        cache_lines_per_probe: "0",
    },
    build: |_, _, _| Ok(None),
    open: |bytes| {
        if bytes.is_empty() {
            Ok(Box::new(NoFilter))
        } else {
            Err(damaged("not empty, though its kind is \"none\""))
        }
    },
    false_positive_rate: |_| 1.0,
};

#[derive(Debug)]
struct NoFilter;

impl Filter for NoFilter {
    fn may_contain(&self, _hash: u64) -> bool {
        true
    }

    fn memory(&self) -> usize {
        0
    }
}
