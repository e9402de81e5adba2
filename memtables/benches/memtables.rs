//! Memtables against each other and `BTreeMap`: random 16-byte keys, 100-byte values. `KODIAK_BENCH_N` sets how many.
#![allow(missing_docs)]

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kodiak_core::entry::{EntryRef, MAX_SEQ, Op};
use kodiak_core::memtable::{Memtable, MemtableFactory};

const VALUE: [u8; 100] = [7; 100];
const ROWS: usize = 100;

fn count() -> usize {
    kodiak_core::conformance::bench::size(20_000, 500)
}

fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

fn random_keys(count: usize, salt: u64) -> Vec<[u8; 16]> {
    (0..count as u64)
        .map(|n| (u128::from(mix(n + (salt << 40))) << 64 | u128::from(mix(!n))).to_be_bytes())
        .collect()
}

fn sequential_keys(count: usize) -> Vec<[u8; 16]> {
    (0..count)
        .map(|n| format!("user{n:012}").into_bytes().try_into().expect("16 bytes"))
        .collect()
}

fn insert_all(table: &dyn Memtable, keys: &[[u8; 16]], first_seq: u64) {
    for (seq, key) in (first_seq..).zip(keys) {
        table
            .insert(EntryRef {
                key,
                seq,
                op: Op::Put,
                value: &VALUE,
            })
            .expect("inserts");
    }
}

fn fill(factory: &MemtableFactory, keys: &[[u8; 16]]) -> Arc<dyn Memtable> {
    let table = factory.create_default(64 << 20).expect("creates");
    insert_all(&*table, keys, 1);
    table
}

/// Times `insert` alone: neither making nor dropping the table.
fn timed<T>(rounds: u64, make: impl Fn() -> T, insert: impl Fn(&T)) -> Duration {
    (0..rounds)
        .map(|_| {
            let table = make();
            let start = Instant::now();
            insert(&table);
            start.elapsed()
        })
        .sum()
}

fn inserts(c: &mut Criterion) {
    let count = count();
    for (order, keys) in [
        ("random", random_keys(count, 1)),
        ("sequential", sequential_keys(count)),
    ] {
        let mut group = c.benchmark_group(format!("insert-{order}"));
        group.throughput(Throughput::Elements(count as u64));
        for factory in kodiak_memtables::ALL {
            let make = || factory.create_default(64 << 20).expect("creates");
            group.bench_function(factory.component.name, |b| {
                b.iter_custom(|rounds| timed(rounds, make, |table| insert_all(&**table, &keys, 1)));
            });
        }
        group.bench_function("btreemap", |b| {
            b.iter_custom(|rounds| {
                timed(
                    rounds,
                    || (),
                    |()| {
                        black_box(btree(&keys));
                    },
                )
            });
        });
        group.finish();
    }
    let mut group = c.benchmark_group("insert-two-threads");
    group.throughput(Throughput::Elements(count as u64));
    let keys = random_keys(count, 1);
    let (left, right) = keys.split_at(count / 2);
    for factory in kodiak_memtables::ALL
        .iter()
        .filter(|factory| factory.capabilities.concurrent_insert)
    {
        let make = || factory.create_default(64 << 20).expect("creates");
        group.bench_function(factory.component.name, |b| {
            b.iter_custom(|rounds| {
                timed(rounds, make, |table| {
                    std::thread::scope(|scope| {
                        scope.spawn(|| insert_all(&**table, left, 1));
                        insert_all(&**table, right, 1 + count as u64);
                    });
                })
            });
        });
    }
    group.finish();
}

type Rows = BTreeMap<([u8; 16], Reverse<u64>), Box<[u8]>>;

fn btree(keys: &[[u8; 16]]) -> Rows {
    let mut map = Rows::new();
    for (seq, key) in (1..).zip(keys) {
        map.insert((*key, Reverse(seq)), Box::new(VALUE));
    }
    map
}

fn reads(c: &mut Criterion) {
    let keys = random_keys(count(), 1);
    let absent = random_keys(count(), 2);
    let order: Vec<_> = (0..keys.len() as u64)
        .map(|n| (mix(n) % keys.len() as u64) as usize)
        .collect();
    let tables: Vec<_> = kodiak_memtables::ALL
        .iter()
        .map(|&f| (f.component.name, fill(f, &keys)))
        .collect();
    tables.iter().for_each(|(_, table)| table.freeze());
    let map = btree(&keys);
    for (name, wanted) in [("get-hit", &keys), ("get-miss", &absent)] {
        let mut group = c.benchmark_group(name);
        for (name, table) in &tables {
            let mut next = order.iter().cycle();
            group.bench_function(*name, |b| {
                b.iter(|| black_box(table.get(&wanted[*next.next().expect("endless")], MAX_SEQ)));
            });
        }
        let mut next = order.iter().cycle();
        group.bench_function("btreemap", |b| {
            b.iter(|| {
                let key = (wanted[*next.next().expect("endless")], Reverse(MAX_SEQ));
                black_box(map.range(key..).next());
            });
        });
        group.finish();
    }
    scans(c, &tables, &map, &keys, &order);
}

fn scans(c: &mut Criterion, tables: &[(&str, Arc<dyn Memtable>)], map: &Rows, keys: &[[u8; 16]], order: &[usize]) {
    let mut group = c.benchmark_group("iterate");
    group.throughput(Throughput::Elements(keys.len() as u64));
    for (name, table) in tables {
        group.bench_function(*name, |b| {
            b.iter(|| {
                let mut cursor = Arc::clone(table).cursor();
                cursor.seek_first().expect("seeks");
                let mut sum = 0;
                while let Some(entry) = cursor.entry() {
                    sum += u64::from(entry.key[3]) + u64::from(entry.value[50]);
                    cursor.next().expect("moves");
                }
                sum
            });
        });
    }
    group.bench_function("btreemap", |b| {
        b.iter(|| {
            map.iter()
                .map(|(key, value)| u64::from(key.0[3]) + u64::from(value[50]))
                .sum::<u64>()
        });
    });
    group.finish();

    let mut group = c.benchmark_group("seek-100");
    for (name, table) in tables {
        let mut next = order.iter().cycle();
        let mut cursor = Arc::clone(table).cursor();
        group.bench_function(*name, |b| {
            b.iter(|| {
                cursor
                    .seek(&keys[*next.next().expect("endless")], MAX_SEQ)
                    .expect("seeks");
                let mut sum = 0;
                for _ in 0..ROWS {
                    let Some(entry) = cursor.entry() else { break };
                    sum += u64::from(entry.key[3]) + u64::from(entry.value[50]);
                    cursor.next().expect("moves");
                }
                sum
            });
        });
    }
    let mut next = order.iter().cycle();
    group.bench_function("btreemap", |b| {
        b.iter(|| {
            let key = (keys[*next.next().expect("endless")], Reverse(MAX_SEQ));
            let rows = map.range(key..).take(ROWS);
            rows.map(|(key, value)| u64::from(key.0[3]) + u64::from(value[50]))
                .sum::<u64>()
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    targets = inserts, reads
}
criterion_main!(benches);
