//! Flights, read by another column than those of their key: a secondary index on a live table.
//!
//! `cargo run -p kodiak --example by_destination`
#![allow(clippy::print_stdout)]

use std::sync::Arc;

use arrow::array::{AsArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use kodiak::{Db, ErrorKind, IndexDefinition, Settings, TableSchema};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn flights(rows: &[(i64, &str, Option<i32>)]) -> Outcome<RecordBatch> {
    let columns = Schema::new(vec![
        Field::new("flight", DataType::Int64, false),
        Field::new("dest", DataType::Utf8, false),
        Field::new("delay", DataType::Int32, true),
    ]);
    let flights: Int64Array = rows.iter().map(|row| row.0).collect();
    let dests: StringArray = rows.iter().map(|row| Some(row.1)).collect();
    let delays: Int32Array = rows.iter().map(|row| row.2).collect();
    let columns = (
        Arc::new(columns),
        vec![Arc::new(flights) as _, Arc::new(dests) as _, Arc::new(delays) as _],
    );
    Ok(RecordBatch::try_new(columns.0, columns.1)?)
}

/// The delays of flights to a place, largest first, and how many flights there are.
fn run() -> Outcome<(Vec<i32>, usize)> {
    let dir = tempfile::tempdir()?;
    let db = Db::open(dir.path(), Settings::default())?;
    let first = flights(&[
        (1545, "IAH", Some(11)),
        (1714, "IAH", Some(20)),
        (1141, "MIA", Some(33)),
    ])?;
    let table = db.create_table("flights", TableSchema::new(first.schema(), &["flight"])?)?;
    table.insert(&first)?;

    // Others may write while it is built; what they write is in it.
    table.create_index(IndexDefinition::on("by_dest", ["dest", "-delay"]))?;
    table.insert(&flights(&[
        (725, "BQN", Some(-18)),
        (461, "IAH", None),
        (1696, "IAH", Some(12)),
    ])?)?;

    // Entries of rows that are written again, or deleted, do not show up.
    let before = db.snapshot();
    table.insert(&flights(&[(1714, "ORD", Some(20))])?)?;

    let to_houston = flights(&[(0, "IAH", None)])?.project(&[1])?;
    let mut delays = Vec::new();
    // The index and the key have these columns, so that rows are looked at only where that is needed.
    for batch in table
        .index("by_dest")?
        .prefix(&to_houston)
        .project(["delay", "flight"])
        .batches()?
    {
        delays.extend(batch?.column(0).as_primitive::<Int32Type>().iter().flatten());
    }
    let then = table.index("by_dest")?.prefix(&to_houston).at(&before).keys()?.count();

    // A unique index refuses what would give two rows the same values.
    table.create_index(IndexDefinition::on("by_delay", ["delay"]).unique())?;
    match table.insert(&flights(&[(507, "FLL", Some(33))])?) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => println!("{error}"),
        other => return Err(format!("a second flight with that delay: {other:?}").into()),
    }
    for index in table.indexes() {
        println!(
            "{}: by {}, in a {} tree",
            index.name,
            index.describe(&table.schema()),
            index.kind
        );
    }
    db.close()?;
    Ok((delays, then))
}

fn main() -> Outcome {
    let (delays, then) = run()?;
    println!("delays of flights to Houston: {delays:?}; there were {then} such flights before");
    Ok(())
}

#[cfg(test)]
#[test]
fn it_finds_flights_by_destination() {
    assert_eq!(run().expect("nothing fails"), (vec![12, 11], 4));
}
