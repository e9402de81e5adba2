//! Other tools read what is published in the background, of each format.
//!
//! Needs the virtual environment that `tests/interop/setup.sh` makes; without it, the test prints that it was skipped.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use kodiak::{Db, Settings, TableSchema};
use kodiak_tests::expected::write_rows;
use kodiak_tests::schemas;
use kodiak_tests::tools::Python;

#[test]
fn python_reads_what_is_published_in_the_background() {
    let Some(python) = Python::find(env!("CARGO_TARGET_TMPDIR"), "publications in the background") else {
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let mut session = python.session("read_published.py", dir.path());
    for (format, tools) in [
        (
            "parquet",
            &["pyarrow", "polars", "duckdb", "deltalake", "polars, delta"][..],
        ),
        ("feather", &["pyarrow", "polars", "duckdb, pyarrow"]),
        ("orc", &["pyarrow", "polars", "duckdb, pyarrow"]),
    ] {
        let mut settings = Settings::default();
        format.clone_into(&mut settings.format.kind);
        settings.publish.continuous = true;
        let db = Db::open(dir.path().join(format), settings).expect("open");
        let columns = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        ]));
        let table = TableSchema::new(Arc::clone(&columns), &["id"]).expect("valid");
        let table = db.create_table("t", table).expect("create");
        for round in 0..4u64 {
            let numbers: Vec<Option<u64>> = (round * 50..round * 50 + 80).map(Some).collect();
            let arrays = columns.fields().iter().map(|field| schemas::array(field, &numbers));
            let rows = RecordBatch::try_new(Arc::clone(&columns), arrays.collect()).expect("columns");
            table.insert(&rows).expect("insert");
            table.delete_keys(&rows.slice(0, 5)).expect("delete");
            db.flush().expect("flush");
            let published = || db.stats().tables[0].publication.clone().expect("in the background");
            for _ in 0..500 {
                db.wait_idle().expect("idle");
                if !published().due {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            assert!(!published().due && published().failure.is_none(), "{:?}", published());
            let expected = dir.path().join("expected.arrow");
            write_rows(&expected, &table);
            let case = serde_json::json!({
                "table": "t",
                "published": format!("{format}/published/000001"),
                "expected": "expected.arrow",
                "rows": table.read().batches().expect("read").map(|batch| batch.expect("rows").num_rows()).sum::<usize>(),
                "tools": tools,
            });
            let answer = session
                .ask(&case)
                .unwrap_or_else(|error| panic!("{format}, {round}: {error}"));
            assert_eq!(
                answer["compared"].as_object().map(|found| found.len()),
                Some(tools.len()),
                "{answer}"
            );
        }
    }
}
