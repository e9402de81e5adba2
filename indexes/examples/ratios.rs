//! The ratios between the two trees with data of 1, 4 and 16 times the pool, and against a map in memory.
//!
//! `cargo run --release -p kodiak-indexes --example ratios -- [pool in MiB] [directory]`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use kodiak_core::index::{Index, IndexContext, IndexFactory, IndexStats, Updates, Upsert};
use kodiak_core::options::{OptionValue, Options};
use kodiak_storage::LocalStorage;

const VALUE: usize = 24;
const ENTRY: usize = 8 + VALUE;
const BATCH: usize = 1000;

#[derive(Debug)]
struct Add;

impl Upsert for Add {
    fn name(&self) -> &str {
        "add"
    }

    fn apply(&self, _key: &[u8], existing: Option<&[u8]>, operand: &[u8]) -> Option<Vec<u8>> {
        let mut value = existing.map_or_else(|| vec![0; VALUE], <[u8]>::to_vec);
        value
            .iter_mut()
            .zip(operand)
            .for_each(|(value, operand)| *value = value.wrapping_add(*operand));
        Some(value)
    }

    fn combine(&self, _key: &[u8], older: &[u8], newer: &[u8]) -> Option<Vec<u8>> {
        Some(
            older
                .iter()
                .zip(newer)
                .map(|(one, two)| one.wrapping_add(*two))
                .collect(),
        )
    }
}

fn key(number: u64) -> [u8; 8] {
    number
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .rotate_left(21)
        .wrapping_mul(0xD6E8_FEB8_6659_FD93)
        .to_be_bytes()
}

#[derive(Clone, Copy)]
struct Scale {
    pool: usize,
    node: usize,
    basement: usize,
    fanout: usize,
    page: usize,
}

fn options(factory: &IndexFactory, scale: Scale) -> Options {
    let given = match factory.component.name {
        "fractal" => vec![
            ("node_size", scale.node),
            ("basement_size", scale.basement),
            ("fanout", scale.fanout),
        ],
        _ => vec![("page_size", scale.page)],
    };
    let given = given
        .into_iter()
        .map(|(name, value)| (name.to_owned(), OptionValue::Int(value as u64)));
    Options::resolve(factory.component.options, given).expect("valid options")
}

fn create(factory: &IndexFactory, scale: Scale, dir: &Path) -> Box<dyn Index> {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let context = IndexContext {
        storage: Arc::new(LocalStorage::new()),
        path: dir.join(format!("{number}.index")),
        pool: (factory.pool)(scale.pool),
        options: options(factory, scale),
        upsert: Some(Arc::new(Add)),
    };
    (factory.create)(context).expect("a new index")
}

struct Measured {
    nanos: f64,
    /// Time on a processor, where the system tells: other programs do not disturb it.
    busy: f64,
    stats: IndexStats,
    before: IndexStats,
    count: usize,
}

impl Measured {
    fn show(&self, what: &str) {
        let per = |after: u64, before: u64| (after - before) as f64 / self.count as f64;
        println!(
            "  {what:28} {:9.0} ns/op {:9.0} busy  {:8.1} bytes written/op  {:8.1} read/op  height {}",
            self.nanos / self.count as f64,
            self.busy / self.count as f64,
            per(self.stats.write_bytes, self.before.write_bytes),
            per(self.stats.read_bytes, self.before.read_bytes),
            self.stats.height
        );
    }
}

/// Nanoseconds that this thread has spent on a processor.
fn busy() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0)
}

fn measure(index: &dyn Index, count: usize, work: impl FnOnce()) -> Measured {
    let (before, start, busy_before) = (index.stats(), Instant::now(), busy());
    work();
    Measured {
        nanos: start.elapsed().as_nanos() as f64,
        busy: busy() - busy_before,
        stats: index.stats(),
        before,
        count,
    }
}

/// Applies `count` changes in sorted batches, and commits whenever half a pool of entries has gone in.
fn write(index: &dyn Index, scale: Scale, count: usize, change: &mut dyn FnMut(usize, &mut Updates)) {
    let per_commit = (scale.pool / 2 / ENTRY).next_multiple_of(BATCH);
    let mut updates = Updates::new();
    let mut last = *index.roots().last().expect("one is always there");
    for start in (0..count).step_by(BATCH) {
        updates.clear();
        for number in start..(start + BATCH).min(count) {
            change(number, &mut updates);
        }
        index.apply(&updates, None).expect("a disk that works");
        if (start + BATCH) % per_commit < BATCH || start + BATCH >= count {
            let root = index.commit().expect("a disk that works");
            if root != last {
                index.release(last).expect("an older root");
            }
            last = root;
        }
    }
}

fn main() {
    let arg = |at: usize, default: usize| {
        std::env::args()
            .nth(at)
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let scale = Scale {
        pool: arg(1, 8) << 20,
        node: arg(2, 512) << 10,
        basement: arg(3, 16) << 10,
        fanout: arg(4, 16),
        page: arg(5, 8) << 10,
    };
    let only = std::env::args().nth(6).unwrap_or_default();
    let dir = tempfile::tempdir_in(PathBuf::from(".")).expect("a directory");
    for times in [1, 4, 16] {
        let count = scale.pool / ENTRY * times;
        for factory in kodiak_indexes::ALL {
            if !only.is_empty() && !only.contains(factory.component.name) {
                continue;
            }
            println!("{} at {times}x: {count} entries", factory.component.name);
            let index = create(factory, scale, dir.path());
            let early = count * 3 / 4;
            measure(&*index, early, || {
                write(&*index, scale, early, &mut |number, updates| {
                    updates.put(&key(number as u64), &[number as u8; VALUE]);
                });
            })
            .show("random inserts, to 3/4");
            measure(&*index, count - early, || {
                write(&*index, scale, count - early, &mut |number, updates| {
                    updates.put(&key((early + number) as u64), &[number as u8; VALUE]);
                });
            })
            .show("random inserts, last 1/4");
            let upserts = count / 4;
            measure(&*index, upserts, || {
                write(&*index, scale, upserts, &mut |number, updates| {
                    updates.upsert(&key((number * 7919 % count) as u64), &[1; VALUE]);
                });
            })
            .show("upserts");
            let reads = 20_000.min(count);
            measure(&*index, reads, || {
                let view = index.view(*index.roots().last().expect("one")).expect("kept");
                for number in 0..reads {
                    assert!(
                        view.get(&key((number * 104_729 % count) as u64))
                            .expect("a disk that works")
                            .is_some()
                    );
                }
            })
            .show("point reads");
            let rmw = 20_000.min(count);
            measure(&*index, rmw, || {
                write(&*index, scale, rmw, &mut |number, updates| {
                    let key = key((number * 6007 % count) as u64);
                    let mut value = index.get(&key).expect("a disk that works").expect("it is there");
                    value[0] = value[0].wrapping_add(1);
                    updates.put(&key, &value);
                });
            })
            .show("read-modify-writes");
            let index = create(factory, scale, dir.path());
            measure(&*index, count, || {
                write(&*index, scale, count, &mut |number, updates| {
                    updates.put(&(number as u64).to_be_bytes(), &[number as u8; VALUE]);
                });
            })
            .show("sorted inserts");
            let mut scanned = 0;
            measure(&*index, count, || {
                let view = index.view(*index.roots().last().expect("one")).expect("kept");
                let mut cursor = view.cursor();
                cursor.seek_first().expect("a disk that works");
                while cursor.key().is_some() {
                    scanned += 1;
                    cursor.next().expect("a disk that works");
                }
            })
            .show("scan");
            assert_eq!(scanned, count);
        }
    }
    in_memory(scale, dir.path());
}

/// Point reads of what is all in memory, beside a map of the standard library.
fn in_memory(scale: Scale, dir: &Path) {
    let count = 1_000_000;
    let map: BTreeMap<Vec<u8>, Vec<u8>> = (0..count)
        .map(|number| (key(number).to_vec(), vec![1; VALUE]))
        .collect();
    let reads = 1_000_000;
    let which = |number: u64| key(number.wrapping_mul(7_777_777) % count);
    let start = busy();
    let mut found = 0;
    for number in 0..reads {
        found += map
            .get(&which(number)[..])
            .map(Vec::clone)
            .map_or(0, |value| value.len());
    }
    let nanos = (busy() - start) / reads as f64;
    println!("in memory, {count} entries: BTreeMap {nanos:.0} ns/read ({found})");
    for factory in kodiak_indexes::ALL {
        let scale = Scale {
            pool: 512 << 20,
            ..scale
        };
        let index = create(factory, scale, dir);
        write(&*index, scale, count as usize, &mut |number, updates| {
            updates.put(&key(number as u64), &[1; VALUE]);
        });
        let view = index.view(*index.roots().last().expect("one")).expect("kept");
        for round in 0..2 {
            let measured = measure(&*index, reads as usize, || {
                for number in 0..reads {
                    assert!(view.get(&which(number)).expect("a disk that works").is_some());
                }
            });
            println!(
                "  {} round {round}: {:.2} times BTreeMap",
                factory.component.name,
                measured.busy / reads as f64 / nanos
            );
            measured.show("point reads in memory");
        }
    }
}
