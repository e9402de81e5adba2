//! Finding the block of a key: what every point read does once for each run that it looks at.
//!
//! `KODIAK_BENCH_N` sets the number of fences of the largest case (default 40,000).

use std::hint::black_box;

use arrow::buffer::Buffer;
use criterion::{Criterion, criterion_group, criterion_main};
use kodiak::sidecar::{Fences, Sidecar, SidecarBuilder};
use kodiak_core::entry::MAX_SEQ;
use kodiak_core::format::BlockHandle;

type Shape = (&'static str, fn(u64) -> Vec<u8>);

/// 16-byte keys of three shapes; the argument is below 2^32.
const SHAPES: [Shape; 3] = [
    ("uniform", |n| {
        let hash = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        [hash.to_be_bytes(), (hash ^ n).to_be_bytes()].concat()
    }),
    ("decimal", |n| format!("user{:012}", n * 7).into_bytes()),
    ("paths", |n| {
        format!("/srv/{:03}/aaaaaaaa/{:08}", n % 100, n).into_bytes()
    }),
];

fn fences(shape: fn(u64) -> Vec<u8>, count: usize) -> (Fences, Vec<Vec<u8>>) {
    let mut keys: Vec<_> = (0..count as u64 * 16).map(shape).collect();
    keys.sort_unstable();
    let mut builder = SidecarBuilder::default();
    for block in keys.chunks(16) {
        builder.fences.push(&block[0], 1, &block[block.len() - 1]);
        builder.layout.blocks.push(BlockHandle {
            rows: 16,
            parts: Vec::new(),
        });
    }
    let bytes = builder.write().expect("as many fences as blocks");
    let sidecar = Sidecar::read(Buffer::from_vec(bytes)).expect("just written");
    (sidecar.fences().expect("just written"), keys)
}

fn locate(criterion: &mut Criterion) {
    let largest = kodiak_core::conformance::bench::size(40_000, 100);
    let mut group = criterion.benchmark_group("fences");
    for (name, shape) in SHAPES {
        for count in [largest / 10, largest] {
            let (fences, keys) = fences(shape, count);
            // Probes in an order that no cache foresees, but from few keys, so that the keys themselves are at hand.
            let probes: Vec<_> = (0..1024).map(|n| &keys[(n * 7_919_777) % keys.len()]).collect();
            let mut next = 0;
            group.bench_function(format!("blocks_of/{name}/{count}"), |bencher| {
                bencher.iter(|| {
                    next = (next + 1) % probes.len();
                    black_box(fences.blocks_of(probes[next], MAX_SEQ))
                });
            });
            let firsts: Vec<Vec<u8>> = keys.chunks(16).map(|block| block[0].clone()).collect();
            group.bench_function(format!("vec_of_keys/{name}/{count}"), |bencher| {
                bencher.iter(|| {
                    next = (next + 1) % probes.len();
                    black_box(firsts.partition_point(|first| first <= probes[next]))
                });
            });
        }
    }
    group.finish();
}

fn open(criterion: &mut Criterion) {
    let mut builder = SidecarBuilder::default();
    for block in 0..2048u64 {
        let key = format!("user{:012}", block * 300).into_bytes();
        builder.fences.push(&key, block, &key);
        builder.layout.blocks.push(BlockHandle {
            rows: 300,
            parts: Vec::new(),
        });
    }
    builder.filter = Some(("bloom".to_owned(), None, vec![0x5A; 700 << 10]));
    let bytes = Buffer::from_vec(builder.write().expect("as many fences as blocks"));
    criterion.bench_function("sidecar/read", |bencher| {
        bencher.iter(|| Sidecar::read(black_box(bytes.clone())))
    });
    criterion.bench_function("sidecar/read_and_load", |bencher| {
        bencher.iter(|| {
            let sidecar = Sidecar::read(black_box(bytes.clone())).expect("whole");
            (sidecar.fences(), sidecar.blocks(), sidecar.filter())
        });
    });
}

criterion_group!(benches, locate, open);
criterion_main!(benches);
