//! The Bloom filter (Bloom, "Space/Time Trade-offs in Hash Coding with Allowable Errors", CACM 1970), with the probe
//! positions by double hashing (Kirsch, Mitzenmacher, "Less Hashing, Same Performance", ESA 2006).

use arrow::buffer::Buffer;
use kodiak_core::Result;
use kodiak_core::filter::{Filter, FilterCapabilities, FilterFactory};
use kodiak_core::registry::Component;

use crate::trailer::{Kind, Trailer, check_len, damaged, no_bits, reduce, remix, total_bits};

/// The Bloom filter.
pub(crate) const FACTORY: FilterFactory = FilterFactory {
    component: Component {
        name: "bloom",
        summary: "The textbook Bloom filter: any number of bits, a cache line for each bit probed.",
        options: &[],
    },
    capabilities: FilterCapabilities {
        adjustable_bits: true,
        typical_bits_per_key: 10.0,
        cache_lines_per_probe: "2 for an absent key, as many as probes for a present one",
    },
    build: |_, hashes, bits_per_key| Ok(build(hashes, bits_per_key)),
    open: |bytes| Ok(Box::new(Bloom::open(&bytes)?)),
    false_positive_rate,
};

/// More probes than this lower the rate too little to be worth their time.
const MOST_PROBES: u8 = 30;

/// The number of probes with the lowest false positive rate: bits per key times ln 2.
fn probes(bits_per_key: f64) -> u8 {
    (bits_per_key * std::f64::consts::LN_2)
        .round()
        .clamp(1.0, f64::from(MOST_PROBES)) as u8
}

fn false_positive_rate(bits_per_key: f64) -> f64 {
    if no_bits(bits_per_key) {
        return 1.0;
    }
    let probes = f64::from(probes(bits_per_key));
    (1.0 - (-probes / bits_per_key).exp()).powf(probes)
}

fn build(hashes: &[u64], bits_per_key: f64) -> Option<Vec<u8>> {
    let words = total_bits(hashes.len(), bits_per_key)?.div_ceil(64);
    let probes = probes(bits_per_key);
    let mut out = vec![0u8; words as usize * 8];
    for &hash in hashes {
        let step = remix(hash);
        let mut position = hash;
        for _ in 0..probes {
            let bit = reduce(position, words * 64);
            out[(bit / 8) as usize] |= 1 << (bit % 8);
            position = position.wrapping_add(step);
        }
    }
    Trailer {
        units: words,
        extra: 0,
        width: probes,
        seed: 0,
    }
    .append(Kind::Bloom, &mut out);
    Some(out)
}

#[derive(Debug)]
struct Bloom {
    bits: Buffer,
    bit_count: u64,
    probes: u8,
}

impl Bloom {
    fn open(bytes: &Buffer) -> Result<Self> {
        let (
            bits,
            Trailer {
                units,
                extra,
                width,
                seed,
            },
        ) = Trailer::split(Kind::Bloom, bytes)?;
        check_len(&bits, units, 8)?;
        if extra != 0 || seed != 0 || !(1..=MOST_PROBES).contains(&width) {
            return Err(damaged(&format!("malformed: {width} probes")));
        }
        Ok(Self {
            bits,
            bit_count: units * 64,
            probes: width,
        })
    }
}

impl Filter for Bloom {
    #[inline]
    fn may_contain(&self, hash: u64) -> bool {
        let bits = self.bits.as_slice();
        let step = remix(hash);
        let mut position = hash;
        for _ in 0..self.probes {
            let bit = reduce(position, self.bit_count);
            if bits[(bit / 8) as usize] & (1 << (bit % 8)) == 0 {
                return false;
            }
            position = position.wrapping_add(step);
        }
        true
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.bits.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_serialised_form_is_as_documented() {
        let hashes = [0, 1, u64::MAX, 0x0123_4567_89AB_CDEF];
        let bytes = build(&hashes, 10.0).expect("there are keys");
        assert_eq!(
            crate::tests::hex(&bytes),
            "a943a0009ad4469201000000000000000000000007000101"
        );
    }
}
