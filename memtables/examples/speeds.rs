//! Prints what each memtable takes for an insert, a get, a row of a scan and a seek with 100 rows, in nanoseconds and as parts
//! of what a `BTreeMap` with keys and values on the heap takes in the same run. The total is the geometric mean of the
//! four parts: the rule by which the default is chosen (`docs/memtables.md`).
//!
//! `KODIAK_BENCH_N` sets the number of entries (200,000), `KODIAK_BENCH_ROUNDS` how often everything is measured (5; the
//! median counts), and arguments name the memtables to measure.
#![allow(clippy::print_stdout)]

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Bound;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use kodiak_core::entry::{EntryRef, MAX_SEQ, Op};
use kodiak_core::memtable::Memtable;

const VALUE: [u8; 100] = [7; 100];
const ROWS: usize = 100;
const PASSES: usize = 4;
const COLUMNS: [&str; 6] = ["insert", "2 threads", "ascending", "get", "iterate", "seek+100"];
/// The columns that count for the total.
const COUNTED: [usize; 4] = [0, 3, 4, 5];

type Key = [u8; 16];
type Times = [f64; COLUMNS.len()];

/// What is measured: nanoseconds per operation.
trait Subject {
    fn insert(&self, keys: &[Key]) -> (Self::Filled, f64);
    /// Two threads, each with half of the keys: the time of the longer one. Nothing if only one may write.
    fn insert_by_two(&self, keys: &[Key]) -> f64;
    type Filled;
    fn get(&self, filled: &Self::Filled, key: &Key) -> u64;
    /// Reads up to `rows` rows from `key` on.
    fn scan(&self, filled: &Self::Filled, key: &[u8], rows: usize) -> u64;
}

struct Kodiak(&'static kodiak_core::memtable::MemtableFactory);

impl Kodiak {
    fn create(&self) -> Arc<dyn Memtable> {
        self.0.create_default(64 << 20).expect("default options")
    }
}

fn insert_all(table: &dyn Memtable, keys: &[Key], first: u64) {
    for (seq, key) in (first..).zip(keys) {
        let entry = EntryRef {
            key,
            seq,
            op: Op::Put,
            value: &VALUE,
        };
        table.insert(entry).expect("small entries are taken");
    }
}

impl Subject for Kodiak {
    type Filled = Arc<dyn Memtable>;

    fn insert(&self, keys: &[Key]) -> (Self::Filled, f64) {
        let table = self.create();
        let start = now();
        insert_all(&*table, keys, 1);
        // Memtables that put sorting off do it here.
        table.freeze();
        (table, per(start, keys.len()))
    }

    fn insert_by_two(&self, keys: &[Key]) -> f64 {
        if !self.0.capabilities.concurrent_insert {
            return f64::NAN;
        }
        let table = self.create();
        let (left, right) = keys.split_at(keys.len() / 2);
        let half = |keys: &[Key], first: u64| {
            let start = now();
            insert_all(&*table, keys, first);
            now().saturating_sub(start)
        };
        let (one, other) = std::thread::scope(|scope| {
            let other = scope.spawn(|| half(left, 1));
            (half(right, 1 + keys.len() as u64), other.join().expect("no panics"))
        });
        one.max(other).as_nanos() as f64 / keys.len() as f64
    }

    fn get(&self, table: &Self::Filled, key: &Key) -> u64 {
        let found = table.get(key, MAX_SEQ).expect("was inserted");
        u64::from(found.value[50])
    }

    fn scan(&self, table: &Self::Filled, key: &[u8], rows: usize) -> u64 {
        let mut cursor = Arc::clone(table).cursor();
        cursor.seek(key, MAX_SEQ).expect("memory does not fail");
        let mut sum = 0;
        for _ in 0..rows {
            let Some(entry) = cursor.entry() else { break };
            sum += u64::from(entry.key[3]) + u64::from(entry.value[50]);
            cursor.next().expect("memory does not fail");
        }
        sum
    }
}

struct Heap;

type HeapMap = BTreeMap<(Box<[u8]>, Reverse<u64>), Box<[u8]>>;

impl Subject for Heap {
    type Filled = HeapMap;

    fn insert(&self, keys: &[Key]) -> (HeapMap, f64) {
        let start = now();
        let map = (1..).zip(keys).fold(HeapMap::new(), |mut map, (seq, key)| {
            map.insert((Box::from(&key[..]), Reverse(seq)), Box::from(&VALUE[..]));
            map
        });
        (map, per(start, keys.len()))
    }

    fn insert_by_two(&self, _: &[Key]) -> f64 {
        f64::NAN
    }

    fn get(&self, map: &HeapMap, key: &Key) -> u64 {
        let from = (Box::from(&key[..]), Reverse(MAX_SEQ));
        let (_, value) = map.range(from..).next().expect("was inserted");
        u64::from(value[50])
    }

    fn scan(&self, map: &HeapMap, key: &[u8], rows: usize) -> u64 {
        let from = Bound::Included((Box::from(key), Reverse(MAX_SEQ)));
        map.range((from, Bound::Unbounded))
            .take(rows)
            .map(|(key, value)| u64::from(key.0[3]) + u64::from(value[50]))
            .sum()
    }
}

/// The time that this thread has run, if the system tells it (other work on the machine then counts less), else that of the
/// clock. It may lag by a few milliseconds.
fn now() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|told| told.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| START.elapsed(), Duration::from_nanos)
}

fn per(start: Duration, count: usize) -> f64 {
    now().saturating_sub(start).as_nanos() as f64 / count as f64
}

fn measure<S: Subject>(subject: &S, keys: &[Key], ascending: &[Key]) -> Times {
    let (sorted, in_order) = subject.insert(ascending);
    drop(sorted);
    let by_two = subject.insert_by_two(keys);
    let (filled, insert) = subject.insert(keys);
    let wanted = |n: usize| &keys[(mix(n as u64) % keys.len() as u64) as usize];
    let start = now();
    black_box((0..keys.len()).map(|n| subject.get(&filled, wanted(n))).sum::<u64>());
    let get = per(start, keys.len());
    let start = now();
    black_box((0..PASSES).map(|_| subject.scan(&filled, &[], usize::MAX)).sum::<u64>());
    let iterate = per(start, PASSES * keys.len());
    let seeks = keys.len() / 20;
    let start = now();
    black_box((0..seeks).map(|n| subject.scan(&filled, wanted(n), ROWS)).sum::<u64>());
    [insert, by_two, in_order, get, iterate, per(start, seeks)]
}

fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn setting(name: &str, default: usize) -> usize {
    let value = std::env::var(name).ok().and_then(|value| value.parse().ok());
    value.unwrap_or(default).max(20)
}

fn main() {
    let named: Vec<String> = std::env::args().skip(1).collect();
    let rounds = std::env::var("KODIAK_BENCH_ROUNDS").ok().and_then(|n| n.parse().ok());
    compare(setting("KODIAK_BENCH_N", 200_000) as u64, rounds.unwrap_or(5), &named);
}

/// Prints the table for these memtables, or all.
fn compare(count: u64, rounds: usize, named: &[String]) {
    let keys: Vec<Key> = (0..count)
        .map(|n| (u128::from(mix(n + (1 << 40))) << 64 | u128::from(mix(!n))).to_be_bytes())
        .collect();
    let ascending: Vec<Key> = (0..count)
        .map(|n| (u128::from_be_bytes(*b"user000000000000") + decimal(n)).to_be_bytes())
        .collect();
    let subjects: Vec<_> = kodiak_memtables::ALL
        .iter()
        .filter(|factory| named.is_empty() || named.iter().any(|name| name == factory.component.name))
        .map(|factory| Kodiak(factory))
        .collect();
    // Interleaved, so that a change of the machine's load touches all alike.
    let rounds: Vec<Vec<Times>> = (0..rounds.max(1))
        .map(|_| {
            let mut times = vec![measure(&Heap, &keys, &ascending)];
            times.extend(subjects.iter().map(|subject| measure(subject, &keys, &ascending)));
            times
        })
        .collect();
    print!("{:<14}", "ns, part");
    COLUMNS.iter().for_each(|column| print!(" {column:>15}"));
    println!(" {:>6}", "total");
    let names = std::iter::once("heap BTreeMap").chain(subjects.iter().map(|subject| subject.0.component.name));
    for (which, name) in names.enumerate() {
        print!("{name:<14}");
        let mut parts = [0.0; COLUMNS.len()];
        for (column, part) in parts.iter_mut().enumerate() {
            // One thread of a BTreeMap is what two threads are compared with.
            let base = if column == 1 { 0 } else { column };
            *part = median(
                rounds
                    .iter()
                    .map(|times| times[which][column] / times[0][base])
                    .collect(),
            );
            let time = median(rounds.iter().map(|times| times[which][column]).collect());
            print!(" {time:>9.0} {part:>5.2}");
        }
        let product: f64 = COUNTED.iter().map(|&column| parts[column].ln()).sum();
        println!(" {:>6.2}", (product / COUNTED.len() as f64).exp());
    }
}

/// The twelve decimal digits of `n` as they are added to twelve ASCII zeroes.
fn decimal(n: u64) -> u128 {
    (0..12)
        .map(|place| u128::from(n / 10_u64.pow(place) % 10) << (8 * place))
        .sum()
}

#[cfg(test)]
#[test]
fn every_memtable_is_measured() {
    compare(200, 1, &[]);
}
