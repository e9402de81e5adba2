//! Build and probe times of every filter, with its bits per key and false positive rate printed first.
//!
//! `KODIAK_BENCH_N` sets the number of keys (default 100,000).

use std::hint::black_box;

use arrow::buffer::Buffer;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kodiak_core::filter::{Filter, FilterFactory, hash_key};
use kodiak_core::options::Options;

fn keys() -> usize {
    kodiak_core::conformance::bench::size(100_000, 1000)
}

fn hashes(stream: u64, count: usize) -> Vec<u64> {
    (0..count as u64)
        .map(|index| hash_key(&(stream << 40 | index).to_le_bytes()))
        .collect()
}

fn built(factory: &FilterFactory, hashes: &[u64]) -> Option<Vec<u8>> {
    let options = Options::defaults(factory.component.options);
    (factory.build)(&options, hashes, factory.capabilities.typical_bits_per_key).expect("the default options are valid")
}

#[allow(clippy::print_stdout)]
fn filters(criterion: &mut Criterion) {
    let (present, absent) = (hashes(1, keys()), hashes(2, 1 << 16));
    for factory in kodiak_filters::ALL {
        let name = factory.component.name;
        let Some(bytes) = built(factory, &present) else {
            continue;
        };
        let bits = bytes.len() as f64 * 8.0 / present.len() as f64;
        let filter: Box<dyn Filter> = (factory.open)(Buffer::from_vec(bytes)).expect("just built");
        let positives = absent.iter().filter(|&&hash| filter.may_contain(hash)).count();
        println!(
            "{name}: {bits:.2} bits per key, {:.3} % false",
            positives as f64 * 100.0 / absent.len() as f64
        );
        let mut group = criterion.benchmark_group(name);
        group
            .sample_size(20)
            .measurement_time(std::time::Duration::from_secs(1));
        group.warm_up_time(std::time::Duration::from_millis(300));
        for (what, probes) in [("absent", &absent), ("present", &present)] {
            let probes = &probes[..probes.len().min(1 << 16)];
            group.throughput(Throughput::Elements(probes.len() as u64));
            group.bench_function(what, |bencher| {
                bencher.iter(|| {
                    probes
                        .iter()
                        .filter(|&&hash| filter.may_contain(black_box(hash)))
                        .count()
                });
            });
        }
        group.throughput(Throughput::Elements(present.len() as u64));
        group.bench_function("build", |bencher| bencher.iter(|| built(factory, black_box(&present))));
        group.finish();
    }
}

criterion_group!(benches, filters);
criterion_main!(benches);
