//! What publishing costs goes with what has changed, not with how large the table is.

use kodiak_storage::OpKind;

use super::*;

/// The most storage operations that one of some publications takes, each after a change of one row, and how many files the table
/// has.
fn operations_of_publishing(rows: i64) -> (u64, usize) {
    let mut settings = settings("parquet");
    // Compactions would be counted too.
    settings.set("compaction.l0_trigger", "19").expect("a setting");
    let history = History::new(settings, 0, 7);
    let schema = history.table.schema();
    let batch = |ids: Vec<i64>| {
        let texts = ids.iter().map(|id| Some(format!("{id:0100}")));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(ids.clone())),
            Arc::new(texts.collect::<StringArray>()),
            Arc::new(Int32Array::from(vec![1; ids.len()])),
        ];
        RecordBatch::try_new(Arc::clone(schema.columns()), columns).expect("columns")
    };
    // Twice, so that the compaction has something to merge, and makes runs of the size that is set.
    for _ in 0..2 {
        history.table.insert(&batch((0..rows).collect())).expect("insert");
        history.db.flush().expect("flush");
    }
    history.db.compact().expect("compact");
    history.db.wait_idle().expect("idle");
    let files = history.publish().files;
    let (counted, counter) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&counter);
    history.storage.on_op(Some(Arc::new(move |event: &OpEvent| {
        if event.moment == Moment::Before {
            count.fetch_add(1, Ordering::Relaxed);
        }
    })));
    // With one checkpoint of the Delta log among them.
    for id in 0..12 {
        history.table.insert(&batch(vec![id])).expect("insert");
        history.db.flush().expect("flush");
        let before = counter.load(Ordering::Relaxed);
        let published = history.table.publish().expect("publish");
        assert_eq!((published.looked_at, published.rows), (1, rows as u64));
        counted.fetch_max(counter.load(Ordering::Relaxed) - before, Ordering::Relaxed);
    }
    history.storage.on_op(None);
    (counted.load(Ordering::Relaxed), files)
}

#[test]
fn publishing_a_small_change_takes_no_more_storage_operations_of_a_large_table() {
    let (small, few) = operations_of_publishing(2_000);
    let (large, many) = operations_of_publishing(60_000);
    assert!(few < 10 && many > 60, "{few} and {many} files");
    assert!(
        large <= small + small / 5,
        "{small} operations with {few} files, {large} with {many}"
    );
}

/// Every file of a publication that it has not in common with the table, and its length.
fn own_files(storage: &dyn Storage, dir: &Path) -> BTreeMap<PathBuf, u64> {
    let mut files = BTreeMap::new();
    for dir in [dir.to_owned(), dir.join("_delta_log")] {
        for name in storage.list(&dir).expect("list") {
            let path = dir.join(&name);
            let number = name
                .strip_suffix(".parquet")
                .and_then(|number| number.parse::<u64>().ok());
            if let Some(len) = storage.len(&path).ok().flatten().filter(|_| number.is_none()) {
                files.insert(path, len);
            }
        }
    }
    files
}

/// A published table of so many files, each of ten rows, and rows of its.
fn many_files(mut settings: Settings, files: i64) -> (History, Published) {
    // Each change makes one run, and each of these stays.
    settings.set("compaction.l0_trigger", "400").expect("a setting");
    settings.set("backpressure.l0_slowdown", "500").expect("a setting");
    settings.set("backpressure.l0_stop", "600").expect("a setting");
    let history = History::new(settings, 0, 7);
    for file in 0..files {
        let rows = short_rows(&history, file * ROWS..(file + 1) * ROWS);
        history.table.ingest_batches([Ok(rows)]).expect("ingest");
    }
    let first = history.table.publish().expect("publish");
    assert_eq!((first.files as i64, first.rows as i64), (files, files * ROWS));
    (history, first)
}

/// Rows of each of many files.
const ROWS: i64 = 10;

pub fn short_rows(history: &History, ids: impl IntoIterator<Item = i64>) -> RecordBatch {
    let ids: Vec<i64> = ids.into_iter().collect();
    let rows = ids.len();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(ids)),
        Arc::new(StringArray::from(vec!["text"; rows])),
        Arc::new(Int32Array::from(vec![1; rows])),
    ];
    RecordBatch::try_new(Arc::clone(history.table.schema().columns()), columns).expect("columns")
}

/// What a publication costs on average, each after a flush of one row that replaces another.
#[derive(Debug, Clone, Copy)]
struct Cost {
    operations: u64,
    read: u64,
    written: u64,
    /// Of the processor and of waiting for nothing, since files are in memory.
    micros: u64,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            operations,
            read,
            written,
            micros,
        } = self;
        write!(
            f,
            "{operations} operations, {read} bytes read, {written} written, {micros} us"
        )
    }
}

fn cost_of_publishing(settings: Settings, files: i64) -> Cost {
    const ROUNDS: i64 = 40;
    let (history, _) = many_files(settings, files);
    let counts: Arc<[AtomicU64; 3]> = Arc::default();
    let counters = Arc::clone(&counts);
    let mut micros = 0;
    for round in 0..ROUNDS {
        let row = short_rows(&history, [round * 37 % (files * ROWS)]);
        history.table.insert(&row).expect("insert");
        history.db.flush().expect("flush");
        let counters = Arc::clone(&counters);
        history.storage.on_op(Some(Arc::new(move |event: &OpEvent| {
            if event.moment == Moment::Before {
                let [operations, read, written] = &*counters;
                operations.fetch_add(1, Ordering::Relaxed);
                match event.kind {
                    OpKind::Read => read.fetch_add(event.len, Ordering::Relaxed),
                    OpKind::Write => written.fetch_add(event.len, Ordering::Relaxed),
                    _ => 0,
                };
            }
        })));
        let begun = std::time::Instant::now();
        let published = history.table.publish().expect("publish");
        micros += begun.elapsed().as_micros() as u64;
        history.storage.on_op(None);
        assert_eq!((published.looked_at, published.rows as i64), (1, files * ROWS));
    }
    let [operations, read, written] = &*counts;
    let mean = |sum: &AtomicU64| sum.load(Ordering::Relaxed) / ROUNDS as u64;
    Cost {
        operations: mean(operations),
        read: mean(read),
        written: mean(written),
        micros: micros / ROUNDS as u64,
    }
}

/// Settings under which each of many files has dead rows that deletion vectors know.
fn with_vectors() -> Settings {
    let mut settings = settings("parquet");
    "bplus".clone_into(&mut settings.index.primary);
    settings.index.deletion_vectors = true;
    settings
}

#[test]
fn publishing_a_small_change_reads_nothing_of_what_is_published_and_writes_no_more_of_a_large_table() {
    for settings in [settings("parquet"), with_vectors()] {
        let small = cost_of_publishing(settings.clone(), 100);
        let large = cost_of_publishing(settings, 1_000);
        let most = |of: fn(&Cost) -> u64| of(&small) + of(&small) / 5;
        assert!(
            large.operations <= most(|cost| cost.operations)
                && large.read <= most(|cost| cost.read)
                && large.written <= most(|cost| cost.written),
            "100 files: {small:?}, 1000 files: {large:?}"
        );
    }
}

#[test]
#[ignore = "it measures: cargo test --release -p kodiak --test publish costs_of_publishing -- --ignored --nocapture"]
fn costs_of_publishing_tables_of_many_files() {
    for files in [100, 1_000, 10_000] {
        for (what, settings) in [("plain", settings("parquet")), ("vectors", with_vectors())] {
            let cost = cost_of_publishing(settings, files);
            println!("{files} files, {what}: {cost}");
        }
    }
}

/// Bytes that publications write on average, each after a change of one row of a table of so many files.
fn bytes_of_publishing(files: i64) -> u64 {
    const ROUNDS: i64 = 120;
    let (history, first) = many_files(settings("parquet"), files);
    let read = |path: &Path| {
        let file = history.storage.open(path).expect("a file");
        file.read(0, file.len() as usize).expect("read").to_vec()
    };
    let (mut bytes, mut before) = (0, own_files(&*history.storage, &first.dir));
    let python = read(&first.dir.join("read.py"));
    for round in 0..ROUNDS {
        history
            .table
            .insert(&short_rows(&history, [round * 37 % (files * ROWS)]))
            .expect("insert");
        let published = history.table.publish().expect("publish");
        assert_eq!(published.rows as i64, files * ROWS);
        let after = own_files(&*history.storage, &first.dir);
        let replaced = |path: &Path| {
            let names = ["PUBLISHED.json", "view.sql", "_last_checkpoint"];
            names.iter().any(|name| path.ends_with(name))
        };
        let written = after
            .iter()
            .filter(|(path, _)| replaced(path) || !before.contains_key(*path));
        bytes += written.map(|(_, len)| len).sum::<u64>();
        before = after;
    }
    assert_eq!(read(&first.dir.join("read.py")), python);
    assert_eq!(history.publish().files as i64, files + ROUNDS);
    bytes / ROUNDS as u64
}

#[test]
fn publishing_a_small_change_writes_no_more_bytes_of_a_large_table() {
    let (small, large) = (bytes_of_publishing(100), bytes_of_publishing(2000));
    println!("{small} bytes with 100 files, {large} with 2000");
    assert!(
        large < small + small / 2,
        "{small} bytes with 100 files, {large} with 2000"
    );
}
