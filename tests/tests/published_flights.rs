//! The flights, with their key of seven columns, are imported, updated and deleted at random, published again and again, and read
//! and queried by other tools.
//!
//! Needs the virtual environment that `tests/interop/setup.sh` makes and the file of flights; without them, it says so.

use std::path::Path;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use kodiak::{Db, Settings, Table, TableOptions, TableSchema};
use kodiak_core::conformance::extent;
use kodiak_tests::expected::write_rows;
use kodiak_tests::flights::{KEY, flights};
use kodiak_tests::tools::{Python, Session};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const TABLE: &str = "flights";

#[test]
fn flights_that_change_are_read_and_queried_by_other_tools() {
    let Some(python) = Python::find(env!("CARGO_TARGET_TMPDIR"), "published flights") else {
        return;
    };
    let step = extent("KODIAK_FLIGHTS_STEP", [16, 16, 1]) as usize;
    let Some(rows) = flights(step) else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let mut session = python.session("read_published.py", dir.path());
    let formats: [(&str, &[&str]); 3] = [
        (
            "parquet",
            &["pyarrow", "polars", "duckdb", "deltalake", "polars, delta"],
        ),
        ("feather", &["pyarrow", "polars"]),
        ("orc", &["pyarrow"]),
    ];
    for (seed, (format, tools)) in formats.into_iter().enumerate() {
        change(dir.path(), &mut session, format, tools, &rows, seed as u64);
    }
}

fn change(dir: &Path, session: &mut Session, format: &str, tools: &[&str], rows: &RecordBatch, seed: u64) {
    let mut settings = Settings::default();
    settings.format.kind = format.to_owned();
    settings.memtable.size = 1 << 20;
    settings.compaction.target_run_size = 1 << 20;
    let db = Db::open(dir.join(format), settings).expect(format);
    let schema = TableSchema::new(rows.schema(), &KEY).expect("a key");
    let options = TableOptions::new().merge_operator("last-non-null");
    let table = db.create_table_with(TABLE, schema, options).expect(format);
    let steps = (0..rows.num_rows()).step_by(10_000);
    let steps = steps.map(|from| Ok(rows.slice(from, 10_000.min(rows.num_rows() - from))));
    table.bulk_insert(steps).expect("imported");
    let mut rng = StdRng::seed_from_u64(seed);
    check(dir, session, &table, tools);
    for round in 0..3 {
        let mut some = |share: usize| -> RecordBatch {
            let chosen = (0..rows.num_rows() / share).map(|_| rng.random_range(0..rows.num_rows() as u32));
            take_record_batch(rows, &UInt32Array::from_iter_values(chosen)).expect("rows")
        };
        // Planes and delays of other flights, and flights that come again after they were deleted.
        let (changed, others) = (some(20), some(20));
        let columns = changed.columns().iter().zip(others.columns()).enumerate();
        let columns = columns.map(|(at, (own, other))| {
            let name = changed.schema_ref().field(at).name().as_str();
            if KEY.contains(&name) {
                own.clone()
            } else {
                other.clone()
            }
        });
        let changed = RecordBatch::try_new(changed.schema(), columns.collect()).expect("the same columns");
        table.insert(&changed).expect("insert");
        let delays: Vec<usize> = [&KEY[..], &["arr_delay", "tailnum"]]
            .concat()
            .iter()
            .map(|name| rows.schema_ref().index_of(name).expect("a column"))
            .collect();
        table
            .update(&some(10).project(&delays).expect("columns"))
            .expect("update");
        table.delete_keys(&some(30)).expect("delete");
        let [from, to] = [some(rows.num_rows()), some(rows.num_rows())].map(|row| first_days(&row));
        table
            .delete_range(from.clone().min(to.clone())..from.max(to))
            .expect("delete");
        match round {
            0 => db.flush().expect("flush"),
            1 => db.compact().expect("compact"),
            _ => {}
        }
        check(dir, session, &table, tools);
    }
}

/// A key in the first days of March, by the bytes that keys are compared by.
fn first_days(row: &RecordBatch) -> Vec<u8> {
    let schema = TableSchema::new(row.schema(), &KEY).expect("a key");
    let keys = kodiak::core::keycodec::KeyCodec::new(&schema)
        .encode(row.columns())
        .expect("a key");
    // Of the date, year and month are eight bytes each; the day, and what comes after it, stay as they are.
    let mut key = keys.value(0).to_vec();
    key[8..16].copy_from_slice(&(3u64 | 1 << 63).to_be_bytes());
    let day = u64::from(key[23]) % 6;
    key[16..24].copy_from_slice(&(day | 1 << 63).to_be_bytes());
    key
}

fn check(dir: &Path, session: &mut Session, table: &Table, tools: &[&str]) {
    let published = table.publish().expect("publish");
    write_rows(&dir.join("expected.arrow"), table);
    for query in ["all", "flights"] {
        let case = serde_json::json!({
            "table": TABLE,
            "published": published.dir.strip_prefix(dir).expect("within"),
            "expected": "expected.arrow",
            "rows": published.rows,
            "tools": tools,
            "query": query,
        });
        let answer = session.ask(&case).unwrap_or_else(|error| panic!("{query}: {error}"));
        assert_eq!(
            answer["compared"].as_object().map(|tools| tools.len()),
            Some(tools.len()),
            "{answer}"
        );
    }
}
