//! Appends per kind, mode and number of threads; what the disk alone allows; metrics on and off; replay.
//!
//! `KODIAK_BENCH_N` sets the appends per sample (20,000); `KODIAK_BENCH_DIR` the directory whose disk is measured.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kodiak_core::batch::Batch;
use kodiak_core::options::Options;
use kodiak_core::storage::Storage;
use kodiak_core::wal::{RecoveryMode, SyncMode, Wal, WalContext, WalFactory};
use kodiak_core::{Op, Result};
use kodiak_storage::LocalStorage;

const MODES: [SyncMode; 3] = [SyncMode::None, SyncMode::Normal, SyncMode::Full];

fn appends() -> u64 {
    kodiak_core::conformance::bench::size(20_000, 1_600) as u64
}

fn directory() -> tempfile::TempDir {
    match std::env::var_os("KODIAK_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir).expect("KODIAK_BENCH_DIR is writable"),
        None => tempfile::tempdir().expect("a temporary directory"),
    }
}

fn context(dir: &Path, metrics: bool) -> WalContext {
    WalContext {
        storage: Arc::new(LocalStorage),
        database: 1,
        dir: dir.to_owned(),
        segment_bytes: 64 << 20,
        max_record_bytes: 16 << 20,
        compress_above: None,
        direct_io: true,
        keep_awake: true,
        metrics,
    }
}

fn open(factory: &WalFactory, context: &WalContext) -> Box<dyn Wal> {
    (factory.open)(context.clone(), &Options::defaults(factory.component.options), 1).expect("opens")
}

/// A key of 16 bytes and a value of 100.
fn batch() -> Batch {
    let mut batch = Batch::new();
    batch.push(1, Op::Put, b"0123456789abcdef", &[0x5A; 100]);
    batch
}

/// The time that `count` appends take, spread over `threads`.
fn run(wal: &dyn Wal, threads: u64, count: u64, mode: SyncMode) -> Duration {
    let work = || {
        let batch = batch();
        for now in 0..count / threads {
            wal.append(&batch, now, mode).expect("appends");
        }
    };
    let start = Instant::now();
    if threads == 1 {
        work();
    } else {
        std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    }
    let elapsed = start.elapsed();
    let segment = wal.rotate().expect("rotates");
    wal.release(segment).expect("releases");
    elapsed
}

fn append(c: &mut Criterion) {
    for mode in MODES {
        let mut group = c.benchmark_group(format!("append/{}", mode.name()));
        let count = if mode == SyncMode::Full {
            appends() / 100
        } else {
            appends()
        };
        group
            .throughput(Throughput::Elements(count))
            .sample_size(10)
            .measurement_time(Duration::from_secs(1));
        group.warm_up_time(Duration::from_millis(300));
        for factory in kodiak_wal::ALL {
            if mode == SyncMode::Full && !factory.capabilities.durable {
                continue;
            }
            for threads in [1, 2, 8] {
                let dir = directory();
                let wal = open(factory, &context(dir.path(), false));
                group.bench_function(format!("{}/{threads}", factory.component.name), |b| {
                    b.iter_custom(|rounds| (0..rounds).map(|_| run(wal.as_ref(), threads, count, mode)).sum());
                });
            }
        }
        group.finish();
    }
}

/// What one commit costs with the disk alone.
fn disk(c: &mut Criterion) {
    let mut group = c.benchmark_group("disk");
    let count = appends() / 100;
    group
        .throughput(Throughput::Elements(count))
        .sample_size(10)
        .measurement_time(Duration::from_secs(1));
    let dir = directory();
    let path = |name: &str| -> PathBuf { dir.path().join(name) };
    let overwrite = LocalStorage.create_log(&path("overwrite"), 64 << 20).expect("new");
    overwrite.sync_data().expect("syncs");
    let mut at = 0;
    group.bench_function("fdatasync-overwrite", |b| {
        b.iter(|| -> Result<()> {
            for _ in 0..count {
                overwrite.write_at(at % (63 << 20), &[1; 160])?;
                overwrite.sync_data()?;
                at += 160;
            }
            Ok(())
        });
    });
    let mut grow = LocalStorage.create(&path("grow")).expect("new");
    group.bench_function("fdatasync-growing", |b| {
        b.iter(|| -> Result<()> {
            for _ in 0..count {
                std::io::Write::write_all(&mut grow, &[1; 160]).expect("writes");
                grow.sync()?;
            }
            Ok(())
        });
    });
    group.finish();
}

fn metrics(c: &mut Criterion) {
    let mut group = c.benchmark_group("metrics");
    let count = appends();
    group
        .throughput(Throughput::Elements(count))
        .sample_size(30)
        .measurement_time(Duration::from_secs(2));
    for on in [false, true] {
        let dir = directory();
        let wal = open(kodiak_wal::ALL[0], &context(dir.path(), on));
        group.bench_function(if on { "on" } else { "off" }, |b| {
            b.iter_custom(|rounds| (0..rounds).map(|_| run(wal.as_ref(), 1, count, SyncMode::Normal)).sum());
        });
    }
    group.finish();
}

fn replay(c: &mut Criterion) {
    let mut group = c.benchmark_group("replay");
    let count = 10 * appends();
    let dir = directory();
    let context = WalContext {
        segment_bytes: 8 << 20,
        ..context(dir.path(), false)
    };
    let factory = kodiak_wal::ALL[0];
    let wal = open(factory, &context);
    let batch = batch();
    for now in 0..count {
        wal.append(&batch, now, SyncMode::Normal).expect("appends");
    }
    assert_eq!(wal.next_seq(), count + 1);
    drop(wal);
    group
        .throughput(Throughput::Elements(count))
        .sample_size(10)
        .measurement_time(Duration::from_secs(1));
    group.bench_function("count", |b| {
        b.iter(|| {
            let mut ops = 0;
            let mut sink = |record: kodiak_core::wal::WalRecord<'_>| {
                ops += record
                    .ops()
                    .map(|op| op.map(|op| op.key.len()))
                    .sum::<Result<usize>>()?;
                Ok(())
            };
            let options = Options::defaults(factory.component.options);
            (factory.replay)(&context, &options, 1, RecoveryMode::PointInTime, &mut sink).expect("replays");
            assert_eq!(ops as u64, count * 16);
        });
    });
    group.finish();
}

criterion_group!(benches, append, disk, metrics, replay);
criterion_main!(benches);
