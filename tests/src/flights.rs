//! All flights from New York in 2013, which are not part of the repository.

use std::io::{Cursor, Read, Write};
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Schema, TimeUnit};
use arrow_csv::reader::Format;

/// What tells flights apart. (The schedule is needed: some numbers leave an airport twice a day.)
pub const KEY: [&str; 7] = ["year", "month", "day", "carrier", "flight", "origin", "sched_dep_time"];

/// The first flight and then every `step`th, in the order of the file, with nulls where it says NA. `None`, and a word about it,
/// if the file is not beside the repository.
pub fn flights(step: usize) -> Option<RecordBatch> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/flights.csv.zip");
    let Ok(file) = std::fs::File::open(&path) else {
        // Not through `eprintln!`, whose output a passing test does not show.
        writeln!(std::io::stderr(), "skipped: {} is not there", path.display()).expect("standard error is there");
        return None;
    };
    let mut archive = zip::ZipArchive::new(file).expect("an archive");
    let mut text = String::new();
    let read = archive.by_index(0).expect("one file").read_to_string(&mut text);
    read.expect("the file");
    let mut lines = text.lines();
    let mut some = String::new();
    for line in lines.next().into_iter().chain(lines.step_by(step)) {
        some.push_str(line);
        some.push('\n');
    }
    let missing = regex::Regex::new("^(NA)?$").expect("valid");
    let format = Format::default().with_header(true).with_null_regex(missing);
    let (columns, _) = format.infer_schema(Cursor::new(&some), None).expect("columns");
    let fields: Vec<_> = columns
        .fields()
        .iter()
        .map(|field| {
            let required = KEY.contains(&field.name().as_str());
            let field = field.as_ref().clone().with_nullable(!required);
            match field.data_type() {
                // As `kodiak import` does: Delta tables have no seconds.
                DataType::Timestamp(_, zone) => {
                    let micros = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
                    field.with_data_type(micros)
                }
                _ => field,
            }
        })
        .collect();
    let columns = Arc::new(Schema::new(fields));
    let reader = arrow_csv::ReaderBuilder::new(Arc::clone(&columns))
        .with_format(format)
        .build(Cursor::new(&some))
        .expect("a reader");
    let batches: Vec<RecordBatch> = reader.map(|batch| batch.expect("rows")).collect();
    Some(concat_batches(&columns, &batches).expect("one schema"))
}
