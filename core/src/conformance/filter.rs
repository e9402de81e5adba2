//! The suite for filters.

use arrow::buffer::Buffer;

use crate::ErrorKind;
use crate::filter::{Filter, FilterFactory, hash_key};
use crate::options::Options;

/// Checks every promise of [`Filter`] and its factory.
///
/// # Panics
/// If one is broken; the message names the filter.
pub fn check(factory: &FilterFactory) {
    let typical = factory.capabilities.typical_bits_per_key;
    nothing_makes_no_filter(factory);
    let mut sizes = vec![typical];
    if factory.capabilities.adjustable_bits {
        sizes.extend([0.5, 1.0, 2.0, 3.7, 5.0, 7.3, 12.0, 16.0, 20.5, 40.0]);
    }
    for &bits in &sizes {
        for count in (1..40).chain([63, 64, 65, 100, 255, 1_000, 10_000]) {
            no_false_negatives(factory, bits, count);
        }
        false_positive_rate_is_as_predicted(factory, bits);
    }
    no_false_negatives(factory, typical, 200_000);
    duplicates_do_no_harm(factory);
    order_does_not_matter(factory);
    damaged_bytes_do_not_panic(factory);
}

/// Distinct well-mixed hashes; those of different streams are different too.
fn hashes(stream: u64, count: usize) -> Vec<u64> {
    (0..count as u64)
        .map(|index| hash_key(&(stream << 40 | index).to_le_bytes()))
        .collect()
}

fn build(factory: &FilterFactory, hashes: &[u64], bits: f64) -> Option<Vec<u8>> {
    let options = Options::defaults(factory.component.options);
    (factory.build)(&options, hashes, bits).unwrap_or_else(|error| panic!("{}: {error}", factory.component.name))
}

fn open(factory: &FilterFactory, bytes: Vec<u8>) -> Box<dyn Filter> {
    (factory.open)(Buffer::from_vec(bytes)).unwrap_or_else(|error| panic!("{}: {error}", factory.component.name))
}

fn nothing_makes_no_filter(factory: &FilterFactory) {
    let name = factory.component.name;
    assert_eq!(build(factory, &[], 10.0), None, "{name}: no keys");
    if factory.capabilities.adjustable_bits {
        for bits in [0.0, -1.0, f64::NAN] {
            assert_eq!(build(factory, &[1, 2, 3], bits), None, "{name}: {bits} bits");
        }
        assert_eq!(
            (factory.false_positive_rate)(0.0),
            1.0,
            "{name}: no bits filter nothing"
        );
    }
}

fn no_false_negatives(factory: &FilterFactory, bits: f64, count: usize) {
    let hashes = hashes(count as u64, count);
    let Some(bytes) = build(factory, &hashes, bits) else {
        return;
    };
    let filter = open(factory, bytes);
    let missing = hashes.iter().filter(|&&hash| !filter.may_contain(hash)).count();
    assert_eq!(
        missing, 0,
        "{}: false negatives among {count} keys at {bits} bits",
        factory.component.name
    );
}

fn false_positive_rate_is_as_predicted(factory: &FilterFactory, bits: f64) {
    const KEYS: usize = 20_000;
    const PROBES: usize = 100_000;
    let name = factory.component.name;
    let predicted = (factory.false_positive_rate)(bits);
    assert!(
        (0.0..=1.0).contains(&predicted),
        "{name}: predicts {predicted} at {bits} bits"
    );
    let Some(bytes) = build(factory, &hashes(1, KEYS), bits) else {
        assert_eq!(
            predicted, 1.0,
            "{name}: no filter at {bits} bits, yet it predicts {predicted}"
        );
        return;
    };
    let spent = bytes.len() as f64 * 8.0 / KEYS as f64;
    assert!(
        spent <= bits * 1.1 + 0.5,
        "{name}: {spent} bits per key instead of {bits}"
    );
    let filter = open(factory, bytes);
    assert!(
        filter.memory() * 8 >= (spent * KEYS as f64) as usize / 2,
        "{name}: memory is not all counted"
    );
    let positives = hashes(2, PROBES)
        .into_iter()
        .filter(|&hash| filter.may_contain(hash))
        .count();
    // Four standard deviations and a little, so that tiny rates are not judged by chance.
    let expected = predicted * PROBES as f64;
    let limit = 2.0 * expected + 4.0 * expected.sqrt() + 4.0;
    assert!(
        positives as f64 <= limit,
        "{name}: {positives} of {PROBES} at {bits} bits, predicted {expected}"
    );
    assert!(
        positives as f64 * 2.0 + 8.0 * expected.sqrt() + 4.0 >= expected,
        "{name}: {positives}, predicted {expected}"
    );
}

fn duplicates_do_no_harm(factory: &FilterFactory) {
    let distinct = hashes(3, 500);
    let mut repeated: Vec<u64> = distinct.iter().flat_map(|&hash| [hash; 5]).collect();
    repeated.extend([0; 1000]);
    repeated.extend([u64::MAX; 1000]);
    let Some(bytes) = build(factory, &repeated, factory.capabilities.typical_bits_per_key) else {
        return;
    };
    let filter = open(factory, bytes);
    let name = factory.component.name;
    assert!(
        distinct.iter().all(|&hash| filter.may_contain(hash)),
        "{name}: a repeated key is missing"
    );
    assert!(
        filter.may_contain(0) && filter.may_contain(u64::MAX),
        "{name}: an extreme hash is missing"
    );
}

fn order_does_not_matter(factory: &FilterFactory) {
    let mut some = hashes(4, 300);
    let bits = factory.capabilities.typical_bits_per_key;
    let one = build(factory, &some, bits);
    some.reverse();
    assert_eq!(
        one,
        build(factory, &some, bits),
        "{}: the order of keys changes the bytes",
        factory.component.name
    );
}

fn damaged_bytes_do_not_panic(factory: &FilterFactory) {
    let name = factory.component.name;
    let probes = hashes(5, 50);
    let reopen = |bytes: &[u8]| match (factory.open)(Buffer::from_vec(bytes.to_vec())) {
        Ok(filter) => {
            probes.iter().for_each(|&hash| {
                std::hint::black_box(filter.may_contain(hash));
            });
            true
        }
        Err(error) => {
            let expected = matches!(error.kind(), ErrorKind::Corruption | ErrorKind::Unsupported);
            assert!(expected, "{name}: damage is reported as {error}");
            false
        }
    };
    for len in 0..80 {
        reopen(&vec![0; len]);
        reopen(&vec![0xFF; len]);
    }
    let Some(bytes) = build(factory, &hashes(6, 40), factory.capabilities.typical_bits_per_key) else {
        return;
    };
    assert!(reopen(&bytes), "{name}: its own bytes are refused");
    for cut in 0..bytes.len() {
        assert!(
            !reopen(&bytes[..cut]),
            "{name}: accepts its first {cut} of {} bytes",
            bytes.len()
        );
    }
    for index in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xFF, 0x10] {
            let mut damaged = bytes.clone();
            damaged[index] ^= flip;
            reopen(&damaged);
        }
    }
}
