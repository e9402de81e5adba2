//! What each index costs for small work in memory. `kodiak index bench` measures with data larger than the pool.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use kodiak_core::index::{Index, IndexContext, IndexFactory, Updates};
use kodiak_core::options::Options;
use kodiak_storage::MemoryStorage;

/// How many entries: fewer among the tests.
fn entries() -> u64 {
    kodiak_core::conformance::bench::size(10_000, 1_000) as u64
}

fn key(number: u64) -> [u8; 8] {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()
}

fn create(factory: &IndexFactory) -> Box<dyn Index> {
    let context = IndexContext {
        storage: Arc::new(MemoryStorage::new()),
        path: "/index".into(),
        pool: (factory.pool)(64 << 20),
        options: Options::defaults(factory.component.options),
        upsert: None,
        owner: Vec::new(),
    };
    (factory.create)(context).expect("memory")
}

fn fill(index: &dyn Index) {
    let entries = entries();
    let mut updates = Updates::new();
    for start in (0..entries).step_by(1000) {
        updates.clear();
        for number in start..start + 1000 {
            updates.put(&key(number), &[7; 24]);
        }
        index.apply(&updates, None).expect("memory");
    }
}

fn indexes(criterion: &mut Criterion) {
    let entries = entries();
    for factory in kodiak_indexes::ALL {
        let name = factory.component.name;
        criterion.bench_function(&format!("{name}/insert {entries}"), |bench| {
            bench.iter_batched(|| create(factory), |index| fill(&*index), BatchSize::LargeInput);
        });
        let index = create(factory);
        fill(&*index);
        let root = index.commit().expect("memory");
        let view = index.view(root).expect("it was just made");
        let mut number = 0;
        criterion.bench_function(&format!("{name}/get"), |bench| {
            bench.iter(|| {
                number = (number + 7919) % entries;
                black_box(view.get(&key(number)).expect("memory"))
            });
        });
        criterion.bench_function(&format!("{name}/scan {entries}"), |bench| {
            bench.iter(|| {
                let mut cursor = view.clone().cursor();
                let mut bytes = 0;
                cursor.seek_first().expect("memory");
                while let Some(value) = cursor.value() {
                    bytes += value.len();
                    cursor.next().expect("memory");
                }
                black_box(bytes)
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(std::time::Duration::from_millis(500));
    targets = indexes
}
criterion_main!(benches);
