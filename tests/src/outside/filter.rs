//! A filter that keeps every hash: exact, and large.

use kodiak::core::filter::{Filter, FilterCapabilities, FilterFactory};
use kodiak::core::options::{OptionKind, OptionSpec};
use kodiak::core::registry::Component;
use kodiak::{Error, Result};

/// The filter `exact`.
pub static FACTORY: FilterFactory = FilterFactory {
    component: Component {
        name: "exact",
        summary: "Keeps every hash, for a test.",
        options: &[OptionSpec {
            name: "copies",
            kind: OptionKind::Int {
                default: 1,
                range: (1, 3),
            },
            help: "How often each hash is kept.",
        }],
    },
    capabilities: CAPABILITIES,
    build: |options, hashes, _| {
        let copies = options.size("copies");
        Ok(Some(serialise(
            hashes.iter().flat_map(|hash| std::iter::repeat_n(*hash, copies)),
        )))
    },
    open: |bytes| Ok(Box::new(Exact::open(&bytes)?)),
    false_positive_rate: |_| 0.0,
};

/// What it can do.
pub const CAPABILITIES: FilterCapabilities = FilterCapabilities {
    adjustable_bits: false,
    typical_bits_per_key: 64.0,
    cache_lines_per_probe: "log n",
};

/// The hashes, sorted, after a version byte.
pub fn serialise(hashes: impl Iterator<Item = u64>) -> Vec<u8> {
    let mut sorted: Vec<u64> = hashes.collect();
    sorted.sort_unstable();
    std::iter::once(1)
        .chain(sorted.into_iter().flat_map(u64::to_le_bytes))
        .collect()
}

/// Every hash.
#[derive(Debug)]
pub struct Exact(Vec<u64>);

impl Exact {
    /// Reads what [`serialise`] wrote.
    ///
    /// # Errors
    /// `Corruption`.
    pub fn open(bytes: &[u8]) -> Result<Self> {
        let Some((1, hashes)) = bytes.split_first().filter(|(_, hashes)| hashes.len() % 8 == 0) else {
            return Err(Error::corruption("an exact filter is malformed"));
        };
        let read = |chunk: &[u8]| chunk.iter().rev().fold(0, |hash, &byte| hash << 8 | u64::from(byte));
        Ok(Self(hashes.chunks_exact(8).map(read).collect()))
    }
}

impl Filter for Exact {
    fn may_contain(&self, hash: u64) -> bool {
        self.0.binary_search(&hash).is_ok()
    }

    fn memory(&self) -> usize {
        self.0.len() * 8
    }
}
