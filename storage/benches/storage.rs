//! What the hot paths of local storage cost beside their floors: a mapped log write beside a plain copy, a 4 KiB read beside
//! a copy, and a sync after overwriting beside one after growing.
//!
//! `KODIAK_BENCH_DIR` chooses the disk: a temporary directory in memory syncs for nothing.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kodiak_core::storage::Storage;
use kodiak_storage::{LocalStorage, MemoryStorage};

const LOG: usize = 8 << 20;

fn directory() -> tempfile::TempDir {
    match std::env::var_os("KODIAK_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    }
    .expect("a writable directory")
}

fn mapped_write(c: &mut Criterion) {
    let dir = directory();
    let mut group = c.benchmark_group("mapped-write");
    for len in [32usize, 120, 1024] {
        group.throughput(Throughput::Bytes(len as u64));
        let bytes = vec![7u8; len];
        let mut memory = vec![0u8; LOG];
        let mut at = 0;
        group.bench_function(BenchmarkId::new("memcpy", len), |b| {
            b.iter(|| {
                at = if at + 2 * len > LOG { 0 } else { at + len };
                memory[at..at + len].copy_from_slice(black_box(&bytes));
                black_box(&mut memory);
            });
        });
        let local: &dyn Storage = &LocalStorage;
        let path = dir.path().join(len.to_string());
        for (name, storage, path) in [
            ("local", local, path.as_path()),
            ("memory", &MemoryStorage::new(), Path::new("/log")),
        ] {
            let log = storage.create_log(path, LOG as u64).expect("space");
            let map = log.map().expect("maps").expect("maps");
            group.bench_function(BenchmarkId::new(name, len), |b| {
                b.iter(|| {
                    at = if at + 2 * len > LOG { 0 } else { at + len };
                    map.write(at, black_box(&bytes));
                });
            });
        }
    }
    group.finish();
}

fn read(c: &mut Criterion) {
    let dir = directory();
    let path = dir.path().join("file");
    let mut file = LocalStorage.create(&path).expect("new");
    file.write_all(&vec![3; LOG]).expect("space");
    file.finish(false).expect("space");
    let file = LocalStorage.open(&path).expect("opens");
    let map = file.map().expect("maps").expect("maps");
    let mut group = c.benchmark_group("read-4KiB");
    group.throughput(Throughput::Bytes(4096));
    let mut at = 0;
    group.bench_function("pread", |b| {
        b.iter(|| {
            at = (at + 4096 * 37) % LOG;
            black_box(file.read(at as u64, 4096).expect("within the file"));
        });
    });
    group.bench_function("copy-from-mapping", |b| {
        b.iter(|| {
            at = (at + 4096 * 37) % LOG;
            black_box(map[at..at + 4096].to_vec());
        });
    });
    group.finish();
}

fn sync(c: &mut Criterion) {
    let dir = directory();
    let mut group = c.benchmark_group("sync");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    let log = LocalStorage
        .create_log(&dir.path().join("log"), LOG as u64)
        .expect("space");
    log.sync_data().expect("syncs");
    let mut at = 0;
    group.bench_function("overwrite-log", |b| {
        b.iter(|| {
            at = (at + 120) % (LOG as u64 - 120);
            log.write_at(at, &[1; 120]).expect("within the log");
            log.sync_data().expect("syncs");
        });
    });
    let map = log.map().expect("maps").expect("maps");
    group.bench_function("overwrite-mapped-log", |b| {
        b.iter(|| {
            at = (at + 120) % (LOG as u64 - 120);
            map.write(at as usize, &[1; 120]);
            log.sync_data().expect("syncs");
        });
    });
    let mut file = LocalStorage.create(&dir.path().join("growing")).expect("new");
    group.bench_function("grow-file", |b| {
        b.iter(|| {
            file.write_all(&[1; 120]).expect("space");
            file.sync().expect("syncs");
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(600));
    targets = mapped_write, read, sync
}
criterion_main!(benches);
